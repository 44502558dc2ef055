import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import type { DeviceLeaf } from '../../server/protocol/topics.ts'
import { reportTopic, startTestBroker, type TestBroker, until } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { publishFrame, types } from '../support/raw-device.ts'

// Order and durability, broker.md §7: 10, 13 and what group commits promise besides.
let handle: DatabaseHandle
let broker: TestBroker
beforeAll(async () => {
  handle = await createTestDatabase()
  broker = await startTestBroker(handle, { limits: { groupMs: 50 } })
})
afterEach(() => {
  broker.control.before = async () => {}
  delete broker.control.after
  broker.control.groups = []
})
afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

type Pair = Awaited<ReturnType<TestBroker['pair']>>
const report = ({ credentials }: Pair, n: number, leaf: DeviceLeaf = 'report', more = {}) =>
  publishFrame({
    topic: reportTopic(credentials, leaf),
    payload: JSON.stringify({ n, ...more }),
    id: n + 1,
  })
const acknowledged = async ({ device }: Pair) => (await device.next(types.puback)) !== undefined

describe('10: acknowledged means committed', () => {
  test('PUBACK comes after the commit, and pings are answered in between', async () => {
    const { promise: hold, resolve: release } = Promise.withResolvers<void>()
    broker.control.before = async () => await hold
    const pair = await broker.pair()
    pair.device.send(report(pair, 1))
    await until(() => broker.control.groups.length === 1, 'the group is being stored')
    expect(await pair.device.isAlive()).toBe(true)
    expect(pair.device.received).toEqual([])
    expect(await broker.stored(pair.credentials.deviceId)).toEqual([])
    release()
    expect(await acknowledged(pair)).toBe(true)
    expect(await broker.stored(pair.credentials.deviceId)).toEqual([1])
    await pair.device.close()
  })

  test('no commit, no PUBACK: closed, nothing stored, nothing held against the device', async () => {
    const pair = await broker.pair()
    broker.control.before = async () => {
      throw new Error('Connection terminated unexpectedly')
    }
    pair.device.send(report(pair, 1))
    expect(await acknowledged(pair)).toBe(false)
    expect(await broker.stored(pair.credentials.deviceId)).toEqual([])
    expect(await broker.events(pair.credentials.deviceId)).toEqual([])

    broker.control.before = async () => {}
    const again = { ...pair, device: await broker.connected(pair.credentials) }
    again.device.send(report(again, 1))
    expect(await acknowledged(again)).toBe(true)
    again.device.send(report(again, 1))
    expect(await acknowledged(again)).toBe(true)
    expect(await broker.stored(pair.credentials.deviceId)).toEqual([1])
  })

  test('a commit that takes too long closes the connection', async () => {
    await using impatient = await startTestBroker(handle, {
      pki: broker.pki,
      limits: { hookMs: 100 },
    })
    const { promise: hold, resolve: release } = Promise.withResolvers<void>()
    impatient.control.before = async () => await hold
    const pair = await impatient.pair()
    pair.device.send(report(pair, 1))
    expect(await acknowledged(pair)).toBe(false)
    expect(await impatient.refusals('hook-timeout')).toBe(1)
    release()
  })
})

describe('13: one bad row', () => {
  test('fails alone: its device is closed, all others in the group are acknowledged', async () => {
    const pairs: Pair[] = []
    for (let n = 0; n < 40; n++) pairs.push(await broker.pair())
    const bad = pairs[17]
    if (!bad) throw new Error('forty were made')
    const answers = pairs.map(async (pair) => {
      pair.device.send(report(pair, 1, 'report', pair === bad ? { isBad: true } : {}))
      return await acknowledged(pair)
    })
    const expected = pairs.map((pair) => pair !== bad)
    expect(await Promise.all(answers)).toEqual(expected)
    for (const pair of pairs) {
      expect(await broker.stored(pair.credentials.deviceId)).toEqual(pair === bad ? [] : [1])
    }
    // By halves: far fewer attempts than messages.
    expect(broker.control.groups[0]).toBeGreaterThan(20)
    expect(broker.control.groups.length).toBeLessThan(20)
    await expect
      .poll(() => broker.events(bad.credentials.deviceId))
      .toEqual(['mqtt-message-rejected'])
    for (const { device } of pairs) await device.close()
  })

  test('what its device sent after it is not stored before it', async () => {
    const pair = await broker.pair()
    pair.device.send(report(pair, 1), report(pair, 2, 'report', { isBad: true }), report(pair, 3))
    expect(await acknowledged(pair)).toBe(true)
    expect(await acknowledged(pair)).toBe(false)
    // Whatever was still to be stored is, once a later device has been served.
    expect(await broker.isServed(await broker.device())).toBe(true)
    expect(await broker.stored(pair.credentials.deviceId)).toEqual([1])
  })
})

describe('groups', () => {
  test('messages of many devices share a transaction', async () => {
    const pairs: Pair[] = []
    for (let n = 0; n < 20; n++) pairs.push(await broker.pair())
    const answers = pairs.map(async (pair) => {
      pair.device.send(report(pair, 1), report(pair, 2))
      return (await acknowledged(pair)) && (await acknowledged(pair))
    })
    expect(new Set(await Promise.all(answers))).toEqual(new Set([true]))
    expect(broker.control.groups.length).toBeLessThanOrEqual(5)
    for (const { device } of pairs) await device.close()
  })

  test('a device is stored in the order in which it spoke, across topics and groups', async () => {
    const pair = await broker.pair()
    const leaves = [
      'report',
      'hello',
      'hello',
      'report',
      'hello',
      'report',
      'report',
      'hello',
    ] as const
    // The first group is slow; the second must not overtake it.
    let isFirst = true
    broker.control.before = async () => {
      if (isFirst) await sleep(100)
      isFirst = false
    }
    pair.device.send(...leaves.map((leaf, n) => report(pair, n, leaf)))
    for (const _ of leaves) expect(await acknowledged(pair)).toBe(true)
    const rows = await handle.db
      .selectFrom('audit_event')
      .select(['action', 'facts'])
      .where('subject', '=', pair.credentials.deviceId)
      .orderBy('seq')
      .execute()
    expect(rows).toEqual(leaves.map((leaf, n) => ({ action: `test.${leaf}`, facts: { n } })))
    await pair.device.close()
  })

  test('while one device waits, another is served', async () => {
    const [slow, quick] = [await broker.pair(), await broker.pair()]
    const { promise: hold, resolve: release } = Promise.withResolvers<void>()
    broker.control.before = async (_leaf, bodies) => {
      if (bodies.some(({ n }) => n === 99)) await hold
    }
    slow.device.send(report(slow, 99), report(slow, 2, 'hello'))
    await until(() => broker.control.groups.length === 1, 'the slow group is being stored')
    quick.device.send(report(quick, 1))
    expect(await acknowledged(quick)).toBe(true)
    expect(slow.device.received).toEqual([])
    release()
    expect((await acknowledged(slow)) && (await acknowledged(slow))).toBe(true)
    for (const { device } of [slow, quick]) await device.close()
  })
})

describe('effects', () => {
  test('run after the commit; a failing one changes nothing', async () => {
    const pair = await broker.pair()
    const seen: number[][] = []
    broker.control.after = async () => {
      seen.push(await broker.stored(pair.credentials.deviceId))
      throw new Error('on purpose')
    }
    pair.device.send(report(pair, 1))
    expect(await acknowledged(pair)).toBe(true)
    await until(() => seen.length > 0, 'the effect ran')
    expect(seen).toEqual([[1]])
    expect(await pair.device.isAlive()).toBe(true)
    await pair.device.close()
  })

  test('when too many have not ended, messages wait; when they end, all are stored', async () => {
    await using small = await startTestBroker(handle, { pki: broker.pki, limits: { effects: 2 } })
    const { promise: hold, resolve: release } = Promise.withResolvers<void>()
    small.control.after = async () => await hold
    const pair = await small.pair()
    for (const n of [1, 2]) {
      pair.device.send(report(pair, n))
      expect(await acknowledged(pair)).toBe(true)
    }
    pair.device.send(report(pair, 3))
    expect(await pair.device.isAlive()).toBe(true)
    await sleep(50)
    expect(await small.stored(pair.credentials.deviceId)).toEqual([1, 2])
    release()
    expect(await acknowledged(pair)).toBe(true)
    expect(await small.stored(pair.credentials.deviceId)).toEqual([1, 2, 3])
  })
})
