import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endCancelled } from '../../server/deployments/end.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { progressOf } from '../../server/rollouts/progress.ts'
import { rolloutStates } from '../../server/rollouts/state.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenStarted, newBuild } from '../support/rollout-given.ts'
import { deploymentIdOf, deploymentOf, report, update } from '../support/rollout-messages.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
  rolloutWorld,
  type RolloutWorld,
} from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

test('costs the same for ten devices and a thousand, and writes no row for any', async () => {
  const release = await givenRelease(world, { build: newBuild() })
  const costs: number[] = []
  for (const size of [10, 1_000]) {
    const groupId = await givenGroup(world)
    await givenDevices(world, groupId, size)
    let rolloutId = ''
    const create = await world.counter.during(async () => {
      rolloutId = await givenRollout(world, groupId, release.id, [{ percent: 1 }, { percent: 100 }])
    })
    const start = await world.counter.during(() => act(world, rolloutId, 'start'))
    costs.push(create, start)
    const { counts } = await progressOf(world.db, { id: rolloutId })
    expect(counts).toEqual({})
  }
  expect(costs.slice(2)).toEqual(costs.slice(0, 2))
  // One of each asks the policy whether others have to approve.
  expect(costs[0]).toBeLessThanOrEqual(7)
  expect(costs[1]).toBeLessThanOrEqual(8)
})

test('a release that is not published is refused, a published one is not', async () => {
  const groupId = await givenGroup(world)
  const draft = await givenRelease(world, { build: newBuild(), state: 'draft' })
  await expect(givenRollout(world, groupId, draft.id)).rejects.toMatchObject({
    code: 'not-ready',
  })
  const published = await givenRelease(world, { build: newBuild() })
  await expect(givenRollout(world, groupId, published.id)).resolves.toEqual(expect.any(String))
  await expect(givenRollout(world, published.id, published.id)).rejects.toMatchObject({
    code: 'not-found',
  })
})

test('every step is audited with who and what', async () => {
  const { rolloutId } = await givenStarted(world, 0)
  await act(world, rolloutId, 'pause', { reason: 'lunch' })
  const rows = await world.db
    .selectFrom('audit_event')
    .select(['action', 'actor', 'facts'])
    .where('subject', '=', rolloutId)
    .orderBy('seq')
    .execute()
  expect(rows.map((row) => row.action)).toEqual([
    'rollout.create',
    'rollout.start',
    'rollout.pause',
  ])
  expect(rows.at(-1)).toMatchObject({
    actor: 'key:test',
    facts: { from: 'running', to: 'paused', reason: 'lunch' },
  })
})

test('one of two racing operators wins, and one audit row says so', async () => {
  const { rolloutId } = await givenStarted(world, 0)
  const results = await Promise.allSettled([
    act(world, rolloutId, 'pause'),
    act(world, rolloutId, 'pause'),
    act(world, rolloutId, 'pause'),
  ])
  const lost = results.flatMap((result) =>
    result.status === 'rejected' ? [result.reason.code] : [],
  )
  expect(lost).toHaveLength(2)
  for (const code of lost) expect(['conflict', 'illegal-transition']).toContain(code)
  const { n } = await world.db
    .selectFrom('audit_event')
    .select(sql<number>`count(*)::int`.as('n'))
    .where('subject', '=', rolloutId)
    .executeTakeFirstOrThrow()
  expect(n).toBe(3)
})

test('a paused rollout admits nobody and lets the started go on; resumed, it admits the others', async () => {
  const { ids, rolloutId, release } = await givenStarted(world, 4)
  const [a = '', b = ''] = ids
  await meetDevices(world.ctx, [a])
  await act(world, rolloutId, 'pause')
  expect(await meetDevices(world.ctx, [b])).toEqual([])
  await update(world, a, await deploymentIdOf(world, rolloutId, a), release)
  expect((await deploymentOf(world, rolloutId, a))?.state).toBe('succeeded')
  await act(world, rolloutId, 'resume')
  expect(await meetDevices(world.ctx, [a, b])).toEqual([b])
})

test('a pause and admissions at the same moment: what was admitted was admitted before', async () => {
  const { ids, rolloutId } = await givenStarted(world, 200)
  const meeting = Promise.all(ids.map((id) => meetDevices(world.ctx, [id])))
  await act(world, rolloutId, 'pause')
  const before = (await progressOf(world.db, { id: rolloutId })).counts
  // Those that were in the middle of it when the pause was committed.
  await meeting
  expect(await meetDevices(world.ctx, ids)).toEqual([])
  expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual(before)
})

test('cancel takes back what has not begun to be written, and leaves the rest', async () => {
  const { ids, rolloutId } = await givenStarted(world, 700)
  await meetDevices(world.ctx, ids)
  const [installing = '', downloading = ''] = ids
  await report(world, installing, await deploymentIdOf(world, rolloutId, installing), 'installing')
  await report(
    world,
    downloading,
    await deploymentIdOf(world, rolloutId, downloading),
    'downloading',
  )
  world.woken.length = 0
  await act(world, rolloutId, 'cancel')
  while (await endCancelled(world.ctx));
  expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual({
    installing: 1,
    cancelled: 699,
  })
  expect(new Set(world.woken).size).toBe(699)
  expect(world.woken).not.toContain(installing)
  expect(await meetDevices(world.ctx, ids)).toEqual([])
  expect(await endCancelled(world.ctx)).toBe(false)
  // Its next try would be a new beginning.
  await report(world, installing, await deploymentIdOf(world, rolloutId, installing), 'failed')
  await endCancelled(world.ctx)
  expect((await deploymentOf(world, rolloutId, installing))?.state).toBe('cancelled')
})

test('the check constraint and the state table agree', async () => {
  const { rows } = await sql<{ def: string }>`
    select pg_get_constraintdef(oid) as def from pg_constraint
    where conrelid = 'rollout'::regclass and conname = 'rollout_state_check'`.execute(world.db)
  const inDatabase = [...(rows[0]?.def.matchAll(/'(\w+)'::text/g) ?? [])].map((match) => match[1])
  expect(new Set(inDatabase)).toEqual(new Set(rolloutStates))
})
