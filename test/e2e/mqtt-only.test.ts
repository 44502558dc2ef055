import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { compactVerify } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { DeviceAgent } from '../../device-sim/agent.ts'
import type { Behavior } from '../../device-sim/behavior.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  hardwareId,
  model,
  openSite,
  publishRelease,
  type Site,
  startRollout,
} from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

// Devices that reach nothing but port 8883 once they are enrolled (updates.md section 6).
let database: DatabaseHandle
let server: RunningServer
let site: Site
const agents: DeviceAgent[] = []
let build = 100

beforeAll(async () => {
  database = await createTestDatabase()
  if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  server = await startServer({ DATABASE_URL: database.url })
  site = await openSite(server)
})
afterAll(async () => {
  await Promise.all(agents.map(async (agent) => await agent.stop()))
  await server[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

async function until(holds: () => boolean | Promise<boolean>, limitMs = 60_000): Promise<void> {
  const end = Date.now() + limitMs
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${holds.toString()}`)
    await sleep(25)
  }
}

const command = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)

/** Enrolled, in a group of its own, and from then on with the MQTT port only. */
async function mqttOnly(serial: string, delivery: 'mqtt' | 'auto', behavior: Behavior = {}) {
  const dir = join(server.dataDir, '..', 'devices', serial)
  await enrollDevice({
    dir,
    root: await readFile(server.ca, 'utf8'),
    imageRoot: site.imageRoot,
    directorRoot: site.directorRoot,
    profile: site.profile,
    token: site.token,
    config: {
      format: 1,
      serverHost: 'localhost',
      devicePort: server.ports.device,
      mqttPort: server.ports.mqtt,
      model,
      hardwareIds: [hardwareId],
      components: { main: { version: '1.0.0', build: 100, svn: 1 } },
      serialNumber: serial,
      allowEvaluation: true,
      helloRetryMs: 2_000,
      reconnectMaxMs: 500,
      delivery,
    },
  })
  const file = join(dir, 'device.json')
  const config = JSON.parse(await readFile(file, 'utf8')) as object
  // Nobody listens there.
  await writeFile(file, JSON.stringify({ ...config, devicePort: 1 }))
  await command('group', 'create', serial)
  await command('group', 'add', serial, serial)
  const agent = new DeviceAgent({ dir, behavior })
  agents.push(agent)
  await agent.start()
  await until(() => agent.status()?.connected === true)
  return { agent, dir }
}

async function rollOut(group: string, image: Buffer) {
  build += 1
  const version = `2.0.${build}`
  const release = { version, build, svn: 1, image, metadataVersion: build - 100 }
  const rollout = await startRollout(site, await publishRelease(site, release), group)
  return { version, rollout }
}

const deploymentOf = async (rollout: string) =>
  (await command<{ id: string; state: string }[]>('rollout', 'deployments', rollout))[0]
const isDone = async (rollout: string) => (await deploymentOf(rollout))?.state === 'succeeded'

async function proofOf(rollout: string) {
  return await database.db
    .selectFrom('deployment_event')
    .select(['proof', 'proof_certificate'])
    .where('deployment_id', '=', (await deploymentOf(rollout))?.id ?? '')
    .where('to_state', '=', 'succeeded')
    .executeTakeFirstOrThrow()
}

test('an image comes in chunks, and the device signs that it runs it', async () => {
  const { agent, dir } = await mqttOnly('MQTT-1', 'mqtt')
  const image = randomBytes(1_000_003)
  const { version, rollout } = await rollOut('MQTT-1', image)
  await until(() => isDone(rollout))
  expect(agent.status()?.installed[0]?.version).toBe(version)
  const { proof, proof_certificate: fingerprint } = await proofOf(rollout)
  const certificate = new X509Certificate(certificateOf(await readFile(join(dir, 'identity.pem'))))
  expect(fingerprint).toBe(createHash('sha256').update(certificate.raw).digest('hex'))
  const { payload } = await compactVerify(proof ?? '', certificate.publicKey)
  expect(JSON.parse(Buffer.from(payload).toString())).toMatchObject({
    deploymentId: (await deploymentOf(rollout))?.id,
    state: 'succeeded',
    sha256: createHash('sha256').update(image).digest('hex'),
    svn: 1,
  })
})

test('77: chunks are taken by themselves when HTTPS is not reachable', async () => {
  const { agent } = await mqttOnly('MQTT-2', 'auto')
  const { version, rollout } = await rollOut('MQTT-2', randomBytes(300_000))
  await until(() => isDone(rollout))
  expect(agent.status()?.installed[0]?.version).toBe(version)
})

test('a download goes on over a restart of the device and one of the server', async () => {
  const slow = { bytesPerSecond: 400_000 }
  const { agent, dir } = await mqttOnly('MQTT-3', 'mqtt', slow)
  const part = join(dir, 'main-b.part')
  const sizeOf = async () => (await stat(part).catch(() => undefined))?.size ?? 0
  const { version, rollout } = await rollOut('MQTT-3', randomBytes(2_000_000))
  await until(async () => (await sizeOf()) > 200_000)
  await agent.stop()
  const before = await sizeOf()
  await agent.start()
  await until(async () => (await sizeOf()) > before + 200_000)
  expect(await server.stop()).toBe(0)
  const between = await sizeOf()
  await server.restart()
  await until(async () => (await sizeOf()) > between)
  expect(before).toBeLessThan(between)
  await until(() => isDone(rollout))
  expect(agent.status()?.installed[0]?.version).toBe(version)
})

/** The first certificate of a PEM text that begins with the key. */
function certificateOf(pem: Buffer): string {
  const text = pem.toString()
  return text.slice(text.indexOf('-----BEGIN CERTIFICATE-----'))
}
