import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { Link } from '../../chaos/link.ts'
import { FileDisk } from '../../device-sim/disk.ts'
import { findIdentity } from '../../device-sim/identity.ts'
import { connectPostgres, type DatabaseHandle } from '../../server/db/client.ts'
import { createAgents } from '../support/agents.ts'
import { startBeside } from '../support/beside.ts'
import { openSite, publishRelease, type Site, startRollout } from '../support/operator.ts'
import { type RunningPostgres, startPostgres } from '../support/postgres.ts'
import { probe, until } from '../support/probe.ts'
import { RawDevice } from '../support/raw-device.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { enroll, talk } from '../support/talking-device.ts'

/* A broker process that is away: for a device that was offline, killed under its devices, and started while there is no database. */

let stack: AsyncDisposableStack
let postgres: RunningPostgres
let handle: DatabaseHandle
let site: Site
/** Operators, and devices too. */
let first: RunningServer
/** Devices only. */
let broker: RunningServer
/** Between the broker and the database. */
let link: Link
let ca: string
const patience = { timeout: 90_000 }

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  postgres = await startPostgres()
  stack.defer(async () => await postgres.stop())
  handle = stack.use(connectPostgres(postgres.url, { max: 4 }))
  first = stack.use(await startServer({ DATABASE_URL: postgres.url }))
  site = await openSite(first)
  const url = new URL(postgres.url)
  link = stack.use(await Link.open([{ host: '127.0.0.1', port: Number(url.port) }]))
  url.port = String(link.port)
  broker = stack.use(
    await startBeside(first, url.href, {
      FLEETSEAL_ROLE: 'broker',
      FLEETSEAL_PUBLIC_PORT: String(first.ports.public),
    }),
  )
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

async function entry(server: RunningServer, { deviceId, ...credentials }: Identity) {
  const device = await RawDevice.open(server.ports.mqtt, ca, credentials)
  return { device, code: await device.connect({ clientId: deviceId }) }
}

const shown = async (deviceId: string) => {
  const { body } = await probe(first, `/api/v1/devices/${deviceId}`)
  return (body as { connected: boolean }).connected
}

test('a device that was offline when it was to be woken learns of it when it connects, at whichever process', async () => {
  const { mqtt: mqttPort, device: devicePort } = broker.ports
  await using agents = createAgents(first, site, { mqttPort, devicePort })
  const agent = await agents.powerUp('AWAY')
  await until(
    async () => await shown(agent.deviceId),
    (isShown) => isShown,
  )
  await agent.stop()
  await until(
    async () => await shown(agent.deviceId),
    (isShown) => !isShown,
  )
  const image = randomBytes(50_000)
  const release = { version: '1.0.1', build: 200, image, metadataVersion: 1 }
  const rollout = await startRollout(site, await publishRelease(site, release))
  const states = async () => {
    const { fleetseal } = site.operator
    const rows = await fleetseal<{ state: string }[]>('rollout', 'deployments', rollout)
    return rows.map(({ state }) => state)
  }
  // Who is away is not met.
  expect(await states()).toEqual([])
  await agent.start()
  await until(states, (all) => all[0] === 'succeeded')
}, 180_000)

test('a broker is killed: its devices are shown as offline, come back to another, and nothing acknowledged is lost', async () => {
  const lost = await made('STAYS-AWAY')
  await enroll(first, site, 'TALKS')
  let place = broker
  const moving = {
    ...first,
    get ports() {
      return place.ports
    },
  }
  const talking = await talk(moving, 'TALKS')
  await entry(broker, lost)
  await expect.poll(async () => await shown(lost.deviceId), patience).toBe(true)
  await expect.poll(async () => await shown(talking.deviceId), patience).toBe(true)
  await expect.poll(() => talking.acknowledged.length, patience).toBeGreaterThan(3)
  const { node_id: dead } = await handle.db
    .selectFrom('device_presence')
    .select('node_id')
    .where('device_id', '=', lost.deviceId)
    .executeTakeFirstOrThrow()

  await broker.kill()
  place = first
  const told = talking.acknowledged.length
  await expect.poll(() => talking.acknowledged.length, patience).toBeGreaterThan(told + 3)
  // The 45 s of the lease are not waited for: the last sign of the dead is made so much older.
  await sql`update broker_node set seen_at = seen_at - interval '46 seconds' where id = ${dead}`.execute(
    handle.db,
  )
  await expect.poll(async () => await shown(lost.deviceId), patience).toBe(false)
  expect(await shown(talking.deviceId)).toBe(true)
  await talking.end()
  const { rows } = await sql<{ no: number }>`
    select (facts ->> 'detail')::int as no from security_event
    where device_id = ${talking.deviceId} and kind = 'outage' order by 1`.execute(handle.db)
  expect(rows.map(({ no }) => no)).toEqual(talking.acknowledged)
}, 180_000)

test('a broker that starts without the database lets nobody in until it knows the status of all', async () => {
  await broker.stop()
  const good = await made('GOOD')
  const bad = await made('BAD')
  const isRefused = async () => {
    for (const identity of [good, bad, good])
      expect((await entry(broker, identity)).code).toBe('closed')
  }
  link.part()
  const starting = broker.restart()
  starting.catch(() => {})
  await expect.poll(() => link.waiting, patience).toBeGreaterThan(0)
  await isRefused()

  // There is a database again, and what it says of certificates has to be waited for.
  await handle.db.transaction().execute(async (tx) => {
    await sql`lock table certificate in access exclusive mode`.execute(tx)
    await tx
      .updateTable('device')
      .set({ state: 'disabled' })
      .where('id', '=', bad.deviceId)
      .execute()
    link.heal()
    const waiting = async () => {
      const { rows } = await sql`
        select from pg_locks where relation = 'certificate'::regclass and not granted`.execute(tx)
      return rows.length
    }
    await expect.poll(waiting, { ...patience, interval: 20 }).toBeGreaterThan(0)
    await isRefused()
  })
  await starting
  const [after, still] = [await entry(broker, good), await entry(broker, bad)]
  expect([after.code, still.code]).toEqual([0, 5])
  await after.device.close()
  await still.device.close()
}, 180_000)
