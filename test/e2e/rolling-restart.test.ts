import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { familyOf } from '../../bench/cpu.ts'
import { lostEvents } from '../../chaos/judge.ts'
import { mostEvents, Talker } from '../../chaos/talker.ts'
import { FileDisk } from '../../device-sim/disk.ts'
import { findIdentity } from '../../device-sim/identity.ts'
import { connectPostgres } from '../../server/db/client.ts'
import { type Agents, createAgents } from '../support/agents.ts'
import { openSite, publishRelease, type Site, startRollout } from '../support/operator.ts'
import { type RunningPostgres, startPostgres } from '../support/postgres.ts'
import { probe } from '../support/probe.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { enroll } from '../support/talking-device.ts'

/* Broker processes that are restarted one by one while devices tell of events and take an update. */

let stack: AsyncDisposableStack
let postgres: RunningPostgres
let server: RunningServer
let site: Site
let agents: Agents
const talkers: Talker[] = []

const patience = { timeout: 120_000, interval: 200 }

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  postgres = await startPostgres()
  stack.defer(async () => await postgres.stop())
  server = stack.use(await startServer({ DATABASE_URL: postgres.url, FLEETSEAL_BROKERS: '2' }))
  site = await openSite(server)
  agents = stack.use(createAgents(server, site))
  for (const serial of ['ROLL-1', 'ROLL-2', 'ROLL-3']) await agents.powerUp(serial)
  const { fleetseal } = site.operator
  await fleetseal('group', 'create', 'talkers')
  await fleetseal('enrollment', 'create', 'talkers', '--group', 'talkers')
  const { token } = await fleetseal<{ token: string }>('enrollment', 'token', 'talkers')
  const ca = await readFile(server.ca, 'utf8')
  for (let n = 0; n < 12; n++) {
    await enroll(server, { ...site, profile: 'talkers', token }, `TALK-${n}`)
    const disk = await FileDisk.existing(join(server.dataDir, '..', 'devices', `TALK-${n}`))
    const identity = await findIdentity(disk)
    if (!identity) throw new Error('not enrolled')
    const { deviceId, key, certificates: cert } = identity
    const talker = new Talker({ deviceId, key, cert }, server.ports.mqtt, ca)
    talkers.push(talker)
    talker.start()
  }
}, 240_000)
afterAll(async () => {
  for (const talker of talkers) await talker.stop()
  await stack.disposeAsync()
})

const brokers = () => familyOf(server.pid()).slice(1)
const running = async () => {
  const { body } = await probe(server, '/readyz')
  return (body as { brokers?: { running: number } }).brokers?.running
}
const told = () => talkers.map(({ acknowledged }) => acknowledged.length)

test('broker processes that are restarted one by one lose no event and fail no update, and every device is back', async () => {
  const image = randomBytes(200_000)
  const release = { version: '1.0.1', build: 101, image, metadataVersion: 1 }
  const rollout = await startRollout(site, await publishRelease(site, release))
  for (const pid of brokers()) {
    await expect.poll(() => Math.min(...told()), patience).toBeGreaterThan(0)
    process.kill(pid, 'SIGTERM')
    await expect.poll(() => brokers().includes(pid), patience).toBe(false)
    await expect.poll(running, patience).toBe(2)
  }
  const before = told()
  await expect
    .poll(
      () => told().every((count, n) => count > (before[n] ?? 0) || count === mostEvents),
      patience,
    )
    .toBe(true)
  const states = async () => {
    const rows = await site.operator.fleetseal<{ state: string }[]>(
      'rollout',
      'deployments',
      rollout,
    )
    return rows.map(({ state }) => state)
  }
  await expect.poll(states, patience).toEqual(['succeeded', 'succeeded', 'succeeded'])
  for (const talker of talkers) await talker.stop()
  const database = new pg.Client(postgres.url)
  await database.connect()
  const facts = talkers.map(({ identity: { deviceId }, acknowledged }) => ({
    deviceId,
    acknowledged,
  }))
  expect(await lostEvents(database, facts)).toEqual([])
  await database.end()
}, 300_000)

test('a server that stops says so before its devices are gone, and their presence is right after it', async () => {
  await using handle = connectPostgres(postgres.url, { max: 1 })
  const shown = async () => {
    const rows = await handle.db
      .selectFrom('device_presence')
      .select('device_id')
      .where('connected', '=', true)
      .execute()
    return rows.length
  }
  await expect.poll(shown, patience).toBe(3)
  expect(await server.stop()).toBe(0)
  expect(await shown()).toBe(0)
}, 120_000)
