import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { Context } from '../../server/context.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { deviceRoutes } from '../../server/devices/routes.ts'
import { eventRoutes } from '../../server/events/routes.ts'
import { groupRoutes } from '../../server/groups/routes.ts'
import { newId } from '../../server/ids.ts'
import type { Reach } from '../../server/protocol/reach.ts'
import { TestClock } from '../support/clock.ts'
import { createTestDatabase } from '../support/database.ts'
import { type Call, serveScoped } from '../support/scoped.ts'

/** A random fleet, a random reach, random questions: each answer is what a model says that filters by the reach, by page too. */
let handle: DatabaseHandle
let server: Awaited<ReturnType<typeof serveScoped>>
const clock = new TestClock()
beforeAll(async () => {
  handle = await createTestDatabase()
  const ctx = { db: handle.db, clock } as unknown as Context
  server = await serveScoped(ctx, [...deviceRoutes, ...groupRoutes, ...eventRoutes])
})
afterAll(async () => {
  server[Symbol.dispose]()
  await handle[Symbol.asyncDispose]()
})

const runs = process.env['FLEETSEAL_FUZZ_RUNS']
const groupNos = [0, 1, 2, 3] as const
const members = fc.subarray([...groupNos])
const reachOf = fc.oneof(
  { weight: 1, arbitrary: fc.constant('fleet' as const) },
  {
    weight: 9,
    arbitrary: fc.array(fc.subarray([...groupNos], { minLength: 1 }), { maxLength: 3 }),
  },
)
const question = fc.record({
  groupNo: fc.option(fc.constantFrom(...groupNos, 4), { nil: undefined }),
  state: fc.option(fc.constantFrom('registered', 'active'), { nil: undefined }),
  name: fc.option(fc.constantFrom('a', 'b'), { nil: undefined }),
  inGroup: fc.option(
    fc.record({ groupNo: fc.constantFrom(...groupNos, 4), isNegated: fc.boolean() }),
    { nil: undefined },
  ),
  limit: fc.constantFrom(1, 2, 200),
})
const fleet = fc.record({
  devices: fc.array(
    fc.record({ members, name: fc.constantFrom('a', 'b', 'ab'), isActive: fc.boolean() }),
    { maxLength: 8 },
  ),
  reach: reachOf,
  questions: fc.array(question, { minLength: 1, maxLength: 3 }),
})

type Question = typeof question extends fc.Arbitrary<infer Q> ? Q : never

interface Device {
  id: string
  name: string
  state: 'active' | 'registered'
  groupIds: readonly string[]
}

async function store(groupIds: readonly string[], devices: readonly Device[]): Promise<void> {
  const { db } = handle
  const now = clock.now()
  for (const table of [
    'security_event',
    'device_group_member',
    'device',
    'device_group',
  ] as const) {
    await db.deleteFrom(table).execute()
  }
  await db
    .insertInto('device_group')
    .values(groupIds.map((id, n) => ({ id, name: `group ${n}`, created_at: now })))
    .execute()
  if (devices.length === 0) return
  const at = { created_at: now, changed_at: now }
  await db
    .insertInto('device')
    .values(
      devices.map(({ id, name, state }, n) => ({ id, name, serial_number: `${n}`, state, ...at })),
    )
    .execute()
  const pairs = devices.flatMap(({ id, groupIds: of }) =>
    of.map((group_id) => ({ group_id, device_id: id })),
  )
  if (pairs.length > 0) await db.insertInto('device_group_member').values(pairs).execute()
  const event = { source: 'server', kind: 'x', severity: 'info', facts: '{}', at: now } as const
  await db
    .insertInto('security_event')
    .values(
      [...devices.map(({ id }) => id), null].map((device_id) => ({
        id: newId(now),
        device_id,
        ...event,
      })),
    )
    .execute()
}

/** All pages. */
async function list(call: Call, path: string, query: Record<string, string>) {
  const items: { id: string; deviceId?: string; groupIds: string[]; deviceCount: number }[] = []
  let cursor: string | null = null
  do {
    const search = new URLSearchParams({ ...query, ...(cursor === null ? {} : { cursor }) })
    const { status, body, text } = await call('GET', `${path}?${search.toString()}`)
    expect(status, text).toBe(200)
    items.push(...body.items)
    cursor = body.nextCursor
  } while (cursor !== null)
  return items
}

const isWithin = ({ groupIds }: Device, reach: Reach) =>
  reach === 'fleet' || reach.some((list_) => list_.every((id) => groupIds.includes(id)))

function wanted(
  { groupNo, state, name, inGroup }: Question,
  { reach, groupIds, known }: { reach: Reach; groupIds: readonly string[]; known: string[] },
  device: Device,
): boolean {
  const shown = device.groupIds.filter((id) => known.includes(id))
  const isIn = (no: number) => shown.includes(groupIds[no] ?? 'none')
  return (
    isWithin(device, reach) &&
    (groupNo === undefined || isIn(groupNo)) &&
    (state === undefined || device.state === state) &&
    (inGroup === undefined
      ? name === undefined || device.name.includes(name)
      : isIn(inGroup.groupNo) !== inGroup.isNegated && (name === undefined || device.name === name))
  )
}

/** A question when there is one about groups, else a piece of text. */
function queryOf({ name, inGroup }: Question): string | undefined {
  if (!inGroup) return name
  const asked = `${inGroup.isNegated ? 'not ' : ''}(group = "group ${inGroup.groupNo}")`
  return name === undefined ? asked : `${asked} and name = "${name}"`
}

test('lists, counts and pages are those of a model that filters by the reach', async () => {
  await fc.assert(
    fc.asyncProperty(fleet, async ({ devices: drawn, reach: lists, questions }) => {
      const groupIds = groupNos.map(() => newId(clock.now()))
      const idOf = (no: number) => groupIds[no] ?? ''
      const devices = drawn.map(({ members: of, name, isActive }): Device => {
        const state = isActive ? 'active' : 'registered'
        return { id: newId(clock.now()), name, state, groupIds: of.map(idOf) }
      })
      await store(groupIds, devices)
      const reach: Reach = lists === 'fleet' ? 'fleet' : lists.map((list_) => list_.map(idOf))
      const known = reach === 'fleet' ? groupIds : [...new Set(reach.flat())]
      const call = server.as(reach)
      // Without any grant there is no permission either: every answer is 403.
      if (reach !== 'fleet' && reach.length === 0) {
        expect((await call('GET', '/devices')).status).toBe(403)
        return
      }
      const within = devices.filter((device) => isWithin(device, reach))
      for (const asked of questions) {
        const { groupNo, state, limit } = asked
        const query = queryOf(asked)
        const found = await list(call, '/devices', {
          limit: String(limit),
          ...(query === undefined ? {} : { query }),
          ...(state === undefined ? {} : { state }),
          ...(groupNo === undefined ? {} : { groupId: groupIds[groupNo] ?? newId(clock.now()) }),
        })
        const expected = devices
          .filter((device) => wanted(asked, { reach, groupIds, known }, device))
          .map(({ id }) => id)
        expect(found.map(({ id }) => id)).toEqual(expected.toSorted().toReversed())
        for (const { id, groupIds: shown } of found) {
          const of = devices.find((device) => device.id === id)?.groupIds ?? []
          expect(shown).toEqual(of.filter((one) => known.includes(one)).toSorted())
        }
      }
      const groups = await list(call, '/groups', { limit: '1' })
      expect(groups.map(({ id }) => id)).toEqual(known.toSorted().toReversed())
      for (const { id, deviceCount } of groups) {
        expect(deviceCount).toBe(within.filter((device) => device.groupIds.includes(id)).length)
      }
      const events = await list(call, '/events', { limit: '3' })
      const about = events.map(({ deviceId }) => deviceId ?? 'none')
      const shown = [...within.map(({ id }) => id), ...(reach === 'fleet' ? ['none'] : [])]
      expect(new Set(about)).toEqual(new Set(devices.length === 0 ? [] : shown))
    }),
    // The same fleets in every run; FLEETSEAL_FUZZ_RUNS makes that many others.
    runs === undefined ? { numRuns: 25, seed: 20_261_126 } : { numRuns: Number(runs) },
  )
}, 180_000)
