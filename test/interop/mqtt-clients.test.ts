import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import mqtt from 'mqtt'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'

import { FileDisk } from '../../device-sim/disk.ts'
import { findIdentity } from '../../device-sim/identity.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { topicOf } from '../../server/protocol/topics.ts'
import { createTestDatabase } from '../support/database.ts'
import { hardwareId, model, openSite, type Site } from '../support/operator.ts'
import { RawDevice } from '../support/raw-device.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { enroll } from '../support/talking-device.ts'

/*
 * Clients that others wrote, at a real server (broker.md, test 44): each connects by mTLS, listens on its own topic, tells of an event
 * that is acknowledged and stored, is closed by the server, and comes back: it is told again what it should be, and tells of
 * another event. What the mosquitto clients send and are sent is in foreign-device.sh.
 */

const python = ['python3', '/usr/bin/python3'].find(
  (name) => spawnSync(name, ['-c', 'import paho.mqtt.client']).status === 0,
)
const pahoScript = fileURLToPath(new URL('mqtt-paho.py', import.meta.url))
const noPaho = python === undefined ? ' (skipped: python3-paho-mqtt is not installed)' : ''

const noSub = spawnSync('mosquitto_sub', ['--help']).error !== undefined
const noSubText = ' (skipped: mosquitto-clients is not installed)'

const patience = { timeout: 60_000, interval: 50 }

let stack: AsyncDisposableStack
let database: DatabaseHandle
let server: RunningServer
let site: Site
let ca: string
beforeAll(async () => {
  stack = new AsyncDisposableStack()
  database = stack.use(await createTestDatabase())
  if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  server = stack.use(await startServer({ DATABASE_URL: database.url }))
  site = await openSite(server)
  ca = await readFile(server.ca, 'utf8')
})
afterAll(async () => await stack?.[Symbol.asyncDispose]())

interface Device {
  deviceId: string
  key: string
  cert: string
  keyFile: string
  certFile: string
  hello: string
}

async function newDevice(serial: string): Promise<Device> {
  const deviceId = await enroll(server, site, serial)
  const folder = join(server.dataDir, '..', 'devices', serial)
  const identity = await findIdentity(await FileDisk.existing(folder))
  if (!identity) throw new Error(`${serial} is not enrolled`)
  const { key, certificates: cert } = identity
  const files = await mkdtemp(join(tmpdir(), 'fleetseal-client-'))
  stack.defer(async () => await rm(files, { recursive: true, force: true }))
  const [keyFile, certFile] = [join(files, 'key.pem'), join(files, 'cert.pem')]
  await writeFile(keyFile, key, { mode: 0o600 })
  await writeFile(certFile, cert)
  const sha256 = createHash('sha256').update('factory image').digest('hex')
  const hello = JSON.stringify({
    agent: 'somebody-else',
    model,
    hardwareIds: [hardwareId],
    installed: [{ component: 'main', version: '1.0.0', build: 100, svn: 1, sha256 }],
    nonce: randomBytes(16).toString('hex'),
  })
  return { deviceId, key, cert, keyFile, certFile, hello }
}

const eventOf = (detail: string) =>
  JSON.stringify({ kind: 'outage', detail, at: '2026-11-26T12:00:00.000Z' })

/** What the device told of, in the order in which it was stored. */
async function told({ deviceId }: Device): Promise<unknown[]> {
  const rows = await database.db
    .selectFrom('security_event')
    .select('facts')
    .where('device_id', '=', deviceId)
    .where('kind', '=', 'outage')
    .orderBy('id')
    .execute()
  return rows.map(({ facts }) => (facts as { detail?: unknown }).detail)
}

/** The server closes the connection of the device, because another one with its certificate came; which goes again at once. */
async function kick({ deviceId, key, cert }: Device): Promise<void> {
  const other = await RawDevice.open(server.ports.mqtt, ca, { key, cert })
  expect(await other.connect({ clientId: deviceId })).toBe(0)
  await other.close()
}

/** Runs it until the test ends; what it printed so far, and how often something is in that. */
function run(program: string, args: readonly string[]) {
  const child: ChildProcess = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => (output += chunk.toString()))
  return {
    has: async (text: string, times = 1) =>
      await vi.waitFor(() => {
        const count = output.split(text).length - 1
        if (count < times) throw new Error(`${count} times "${text}" in:\n${output.slice(-2_000)}`)
      }, patience),
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    },
  }
}

test('mqtt.js', async () => {
  const device = await newDevice('MQTT-JS-1')
  const { deviceId, key, cert } = device
  const client = await mqtt.connectAsync(`mqtts://localhost:${server.ports.mqtt}`, {
    clientId: deviceId,
    key,
    cert,
    ca,
    protocolVersion: 4,
    reconnectPeriod: 200,
  })
  let bundles = 0
  let closes = 0
  client.on('message', () => bundles++)
  client.on('close', () => closes++)
  try {
    await client.subscribeAsync(topicOf(deviceId, 'bundle'), { qos: 1 })
    await client.publishAsync(topicOf(deviceId, 'hello'), device.hello, { qos: 1 })
    await client.publishAsync(topicOf(deviceId, 'event'), eventOf('1'), { qos: 1 })
    expect(await told(device)).toEqual(['1'])
    await vi.waitFor(() => expect(bundles).toBeGreaterThan(0), patience)

    const before = bundles
    await kick(device)
    await vi.waitFor(() => expect(closes).toBeGreaterThan(0), patience)
    // It subscribes again by itself.
    await vi.waitFor(() => expect(bundles).toBeGreaterThan(before), patience)
    await client.publishAsync(topicOf(deviceId, 'event'), eventOf('2'), { qos: 1 })
    expect(await told(device)).toEqual(['1', '2'])
  } finally {
    await client.endAsync(true)
  }
})

test.skipIf(python === undefined)(`paho-python${noPaho}`, async () => {
  const device = await newDevice('PAHO-1')
  const { deviceId, certFile, keyFile, hello } = device
  const args = [`${server.ports.mqtt}`, server.ca, certFile, keyFile, deviceId, hello]
  await using client = run(python ?? '', [pahoScript, ...args])
  await client.has('acknowledged 1')
  await client.has('told 1')
  expect(await told(device)).toEqual(['1'])
  await kick(device)
  await client.has('closed 1')
  await client.has('acknowledged 2')
  await client.has('told 2')
  expect(await told(device)).toEqual(['1', '2'])
})

test.skipIf(noSub)(
  `mosquitto_sub comes back by itself after each end${noSub ? noSubText : ''}`,
  async () => {
    const device = await newDevice('MOSQUITTO-1')
    const { deviceId, certFile, keyFile } = device
    const where = ['-h', 'localhost', '-p', `${server.ports.mqtt}`, '--cafile', server.ca]
    const who = ['--cert', certFile, '--key', keyFile, '-i', deviceId, '-V', 'mqttv311']
    // A bundle goes to whoever subscribes and has said hello; -d says what happens on the wire.
    const what = ['-d', '-q', '1', '-t', topicOf(deviceId, 'bundle')]
    await using client = run('stdbuf', ['-oL', 'mosquitto_sub', ...where, ...who, ...what])
    await client.has('received SUBACK', 1)
    await kick(device)
    await client.has('received SUBACK', 2)
    await site.operator.fleetseal('device', 'disable', 'MOSQUITTO-1', '--reason', 'test')
    // It asked again, and is told that it may not: the program ends by itself then.
    await client.has('received CONNACK (5)')
  },
)
