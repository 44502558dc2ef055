import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { Link } from '../../chaos/link.ts'
import { FileDisk } from '../../device-sim/disk.ts'
import { findIdentity } from '../../device-sim/identity.ts'
import { connectPostgres, type DatabaseHandle } from '../../server/db/client.ts'
import { startBeside } from '../support/beside.ts'
import { openSite, type Site } from '../support/operator.ts'
import { type RunningPostgres, startPostgres } from '../support/postgres.ts'
import { RawDevice } from '../support/raw-device.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { enroll } from '../support/talking-device.ts'

/* One device and two servers: where it is, which of two connections counts, and that cutting it off holds at both. */

let stack: AsyncDisposableStack
let postgres: RunningPostgres
let handle: DatabaseHandle
let site: Site
let first: RunningServer
let second: RunningServer
/** Between the second server and the database. */
let link: Link
let ca: string

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  postgres = await startPostgres()
  stack.defer(async () => await postgres.stop())
  handle = stack.use(connectPostgres(postgres.url, { max: 2 }))
  first = stack.use(await startServer({ DATABASE_URL: postgres.url }))
  site = await openSite(first)
  const url = new URL(postgres.url)
  link = stack.use(await Link.open([{ host: '127.0.0.1', port: Number(url.port) }]))
  url.port = String(link.port)
  second = stack.use(await startBeside(first, url.href))
  ca = await readFile(first.ca, 'utf8')
}, 180_000)
afterAll(() => stack.disposeAsync())

interface Identity {
  deviceId: string
  key: string
  cert: string
}

async function made(serial: string): Promise<Identity> {
  await enroll(first, site, serial)
  const disk = await FileDisk.existing(join(first.dataDir, '..', 'devices', serial))
  const identity = await findIdentity(disk)
  if (!identity) throw new Error(`${serial} is not enrolled`)
  return { deviceId: identity.deviceId, key: identity.key, cert: identity.certificates }
}

async function connected(
  server: RunningServer,
  { deviceId, ...credentials }: Identity,
  localAddress?: string,
): Promise<RawDevice> {
  const options = localAddress === undefined ? {} : { localAddress }
  const device = await RawDevice.open(server.ports.mqtt, ca, credentials, options)
  expect(await device.connect({ clientId: deviceId })).toBe(0)
  return device
}

const presence = async (deviceId: string) =>
  await handle.db
    .selectFrom('device_presence')
    .select(['node_id', 'connected'])
    .where('device_id', '=', deviceId)
    .executeTakeFirst()
const isShown = async (deviceId: string) => (await presence(deviceId))?.connected

const patience = { timeout: 60_000 }

describe('a session', () => {
  test('is at the server that the device came to last; the late end of the older one does not hide it', async () => {
    const device = await made('MOVES')
    const before = await connected(first, device)
    await expect.poll(async () => await isShown(device.deviceId), patience).toBe(true)
    const here = (await presence(device.deviceId))?.node_id
    const after = await connected(second, device)
    await before.closed
    await expect
      .poll(async () => (await presence(device.deviceId))?.node_id, patience)
      .not.toBe(here)
    expect(await isShown(device.deviceId)).toBe(true)
    expect(await after.isAlive()).toBe(true)
    // And back again: neither server's clock decides.
    const again = await connected(first, device)
    await after.closed
    await expect.poll(async () => (await presence(device.deviceId))?.node_id, patience).toBe(here)
    expect(await again.isAlive()).toBe(true)
    await again.close()
    await expect.poll(async () => await isShown(device.deviceId), patience).toBe(false)
  })

  test('resumes at the other server with the ticket of the first, until the device is cut off', async () => {
    const device = await made('RESUMES')
    const before = await connected(first, device)
    await expect.poll(() => before.tickets.length, patience).toBeGreaterThan(0)
    await before.close()
    const session = before.tickets.at(-1)
    if (!session) throw new Error('There is no ticket')
    const { deviceId, ...credentials } = device
    const after = await RawDevice.open(second.ports.mqtt, ca, credentials, { session })
    expect(after.socket.isSessionReused()).toBe(true)
    expect(await after.connect({ clientId: deviceId })).toBe(0)
    await site.operator.fleetseal('device', 'disable', deviceId, '--reason', 'lost')
    await after.closed
    const again = await RawDevice.open(second.ports.mqtt, ca, credentials, { session })
    expect(again.socket.isSessionReused()).toBe(true)
    expect(await again.connect({ clientId: deviceId })).toBe(5)
    await again.close()
  })

  test('that two take from each other, each at another server, is a copied identity', async () => {
    const device = await made('COPIED')
    const places = [
      [first, '127.0.0.2'],
      [second, '127.0.0.3'],
    ] as const
    const opened: RawDevice[] = []
    const isSeen = async () => {
      const row = await handle.db
        .selectFrom('security_event')
        .select('facts')
        .where('kind', '=', 'identity-cloned')
        .where('device_id', '=', device.deviceId)
        .executeTakeFirst()
      return row !== undefined
    }
    for (let turn = 0; turn < 30 && !(await isSeen()); turn++) {
      const [server, address] = places[turn % 2] ?? places[0]
      opened.push(await connected(server, device, address))
      await opened.at(-2)?.closed
    }
    await expect.poll(isSeen, patience).toBe(true)
    for (const one of opened) await one.close()
  }, 180_000)
})

describe('while the notifications of a server are lost without a word', () => {
  test('a device that is revoked or disabled elsewhere is out of it all the same, and stays out', async () => {
    const devices = [await made('REVOKED'), await made('DISABLED')]
    const open = [
      await connected(second, devices[0] ?? never()),
      await connected(second, devices[1] ?? never()),
    ]
    link.partThose('fleetseal-bus')
    try {
      const { fleetseal } = site.operator
      await fleetseal('device', 'revoke', 'REVOKED', '--reason', 'key stolen')
      await fleetseal('device', 'disable', 'DISABLED', '--reason', 'looks odd')
      for (const device of open) await device.closed
      for (const { deviceId, ...credentials } of devices) {
        const device = await RawDevice.open(second.ports.mqtt, ca, credentials)
        expect(await device.connect({ clientId: deviceId })).toBe(5)
        await device.close()
      }
      // That the connection is dead is noticed, although nobody said so.
      await expect
        .poll(() => second.output(), patience)
        .toContain('the notification connection broke')
    } finally {
      link.heal()
    }
  }, 120_000)
})

function never(): never {
  throw new Error('there are two')
}
