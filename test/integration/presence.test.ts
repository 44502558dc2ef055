import { randomUUID } from 'node:crypto'

import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { leaseMs, NodeLease } from '../../server/mqtt/node-lease.ts'
import { Presence } from '../../server/mqtt/presence.ts'
import { TestClock } from '../support/clock.ts'
import { createEmbeddedDatabase, createTestDatabase } from '../support/database.ts'

const log = pino({ level: 'silent' })

let handle: DatabaseHandle

/** A broker process as far as presence goes. */
const node = async (clock = new TestClock()) => {
  const deps = { db: handle.db, clock, log, nodeId: randomUUID() }
  const presence = new Presence(deps)
  await presence.start()
  let lost = 0
  const lease = new NodeLease(deps, () => lost++)
  return { ...deps, presence, lease, lost: () => lost }
}
const rowOf = async (deviceId: string) =>
  await handle.db
    .selectFrom('device_presence')
    .select(['node_id', 'connected', 'epoch', 'last_seen_at'])
    .where('device_id', '=', deviceId)
    .executeTakeFirst()

describe.each([
  ['PostgreSQL', createTestDatabase],
  ['PGlite', createEmbeddedDatabase],
])('%s', (_name, create) => {
  beforeAll(async () => {
    handle = await create()
  })
  afterAll(() => handle[Symbol.asyncDispose]())
  describe('presence', testPresence)
  describe('leases', testLeases)
})

function testPresence(): void {
  test('connecting and leaving are written, many in one statement', async () => {
    const { presence, nodeId, clock } = await node()
    const ids = Array.from({ length: 1_500 }, () => randomUUID())
    const epochs = ids.map((id) => {
      const epoch = presence.nextEpoch()
      presence.set(id, epoch, true)
      return epoch
    })
    await presence.flush()
    const [first = '', second = ''] = ids
    expect(await rowOf(first)).toEqual({
      node_id: nodeId,
      connected: true,
      epoch: epochs[0],
      last_seen_at: clock.now(),
    })
    clock.advance({ seconds: 60 })
    presence.set(first, epochs[0] ?? 0, false)
    await presence.flush()
    expect(await rowOf(first)).toMatchObject({ connected: false, last_seen_at: clock.now() })
    expect(await rowOf(second)).toMatchObject({ connected: true })
  })

  test('the late end of an older connection does not hide the newer one', async () => {
    const [a, b] = [await node(), await node()]
    const id = randomUUID()
    const onA = a.presence.nextEpoch()
    a.presence.set(id, onA, true)
    await a.presence.flush()
    // Both in memory at once on one process, and across two processes.
    const newer = a.presence.nextEpoch()
    a.presence.set(id, newer, true)
    a.presence.set(id, onA, false)
    await a.presence.flush()
    expect(await rowOf(id)).toMatchObject({ connected: true, epoch: newer })
    const onB = Math.max(b.presence.nextEpoch(), newer + 1)
    b.presence.set(id, onB, true)
    await b.presence.flush()
    a.presence.set(id, newer, false)
    await a.presence.flush()
    expect(await rowOf(id)).toMatchObject({ connected: true, node_id: b.nodeId })
    b.presence.set(id, onB, false)
    await b.presence.flush()
    expect(await rowOf(id)).toMatchObject({ connected: false, node_id: b.nodeId })
  })

  test('epochs grow when the clock goes backward over a restart', async () => {
    const before = await node()
    const id = randomUUID()
    const epoch = before.presence.nextEpoch()
    before.presence.set(id, epoch, true)
    await before.presence.flush()
    const after = await node(new TestClock('2020-01-01T00:00:00Z'))
    expect(after.presence.nextEpoch()).toBeGreaterThan(epoch)
  })
}

function testLeases(): void {
  test('the devices of a dead process are shown offline within its lease, those of a living one are not', async () => {
    const clock = new TestClock()
    const [dead, living] = [await node(clock), await node(clock)]
    const [lost, kept] = [randomUUID(), randomUUID()]
    for (const [{ presence, lease }, id] of [
      [dead, lost],
      [living, kept],
    ] as const) {
      await lease.beat()
      presence.set(id, presence.nextEpoch(), true)
      await presence.flush()
    }
    clock.advance({ seconds: leaseMs / 1000 - 5 })
    await living.lease.beat()
    expect(await rowOf(lost)).toMatchObject({ connected: true })
    clock.advance({ seconds: 10 })
    await living.lease.beat()
    expect(await rowOf(lost)).toMatchObject({ connected: false })
    expect(await rowOf(kept)).toMatchObject({ connected: true })
    // It was only slow: it tells its devices again, with the epochs they have.
    await dead.lease.beat()
    expect(dead.lost()).toBe(1)
    expect(living.lost()).toBe(0)
    await dead.lease.beat()
    expect(dead.lost()).toBe(1)
  })

  test('a process that ends leaves nothing connected', async () => {
    const { presence, lease, nodeId } = await node()
    await lease.beat()
    const id = randomUUID()
    presence.set(id, presence.nextEpoch(), true)
    await presence.flush()
    await lease.release()
    expect(await rowOf(id)).toMatchObject({ connected: false })
    const rows = await handle.db
      .selectFrom('broker_node')
      .select('id')
      .where('id', '=', nodeId)
      .execute()
    expect(rows).toEqual([])
  })
}

test('what could not be written is written later', async () => {
  handle = await createTestDatabase()
  const clock = new TestClock()
  const deps = { db: handle.db, clock, log, nodeId: randomUUID() }
  const id = randomUUID()
  const presence = new Presence(deps)
  presence.set(id, 5, true)
  Object.assign(deps, { nodeId: 'no uuid' })
  await presence.flush()
  Object.assign(deps, { nodeId: randomUUID() })
  await presence.flush()
  presence.stop()
  const rows = await handle.db.selectFrom('device_presence').select('connected').execute()
  expect(rows).toEqual([{ connected: true }])
  await handle[Symbol.asyncDispose]()
})
