import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { progressOf } from '../../server/rollouts/progress.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenStarted, newBuild } from '../support/rollout-given.ts'
import { deploymentIdOf, deploymentOf, report } from '../support/rollout-messages.ts'
import {
  act,
  givenDevices,
  givenRelease,
  givenRollout,
  installedBuild,
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

test('writes rows for those in contact only, once, in the same number of statements', async () => {
  const { ids, rolloutId } = await givenStarted(world, 1_000)
  expect(await meetDevices(world.ctx, ids.slice(0, 10))).toHaveLength(10)
  expect(await meetDevices(world.ctx, ids.slice(0, 10))).toEqual([])
  const ten = await world.counter.during(() => meetDevices(world.ctx, ids.slice(10, 20)))
  const hundreds = await world.counter.during(() => meetDevices(world.ctx, ids.slice(20, 500)))
  expect(hundreds).toBe(ten)
  expect(ten).toBeLessThanOrEqual(5)
  expect(await world.counter.during(() => meetDevices(world.ctx, ids.slice(0, 400)))).toBe(1)
  expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual({ queued: 500 })
})

test('many processes that meet the same devices write one row each', async () => {
  const { ids, rolloutId } = await givenStarted(world, 50)
  const met = await Promise.all(Array.from({ length: 6 }, () => meetDevices(world.ctx, ids)))
  expect(met.flat()).toHaveLength(50)
  expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual({ queued: 50 })
})

test('the database puts devices into the same buckets', async () => {
  const { ids, rolloutId } = await givenStarted(world, 300, [{ percent: 20 }, { percent: 100 }])
  const { seed } = await getRollout(world.db, rolloutId)
  const { rows } = await sql<{ id: string }>`
    select id from unnest(${ids}::uuid[]) device(id)
    where ('x' || left(encode(sha256(${seed}::bytea || uuid_send(id)), 'hex'), 13))::bit(52)::bigint
      / 4503599627370496.0::float8 < 0.2`.execute(world.db)
  const met = await meetDevices(world.ctx, ids)
  expect(met.toSorted()).toEqual(rows.map((row) => row.id).toSorted())
  expect(met.length).toBeGreaterThan(20)
  expect(met.length).toBeLessThan(120)
})

test.each([
  ['another model', { model: 'other-1' }, {}],
  ['other hardware', { hardware_ids: ['rev-z'] }, {}],
  ['a higher build', { installed: [installedBuild(9_999)] }, {}],
  ['a higher security version', { installed: [installedBuild(1, { svn: 2 })] }, {}],
  ['other components only', { installed: [installedBuild(1, { component: 'radio' })] }, {}],
  ['a missing other component', {}, { requires: { radio: 5 } }],
  ['the state disabled', { state: 'disabled' as const }, {}],
  ['the state revoked', { state: 'revoked' as const }, {}],
  ['never said hello', { model: null, installed: [] }, {}],
])('a device with %s gets nothing, its honest twin does', async (_what, device, release) => {
  const { groupId, ids, rolloutId } = await givenStarted(world, 1, undefined, release)
  const [odd = ''] = await givenDevices(world, groupId, 1, device)
  const radio = installedBuild(6, { component: 'radio' })
  const [twin = ''] = await givenDevices(world, groupId, 1, {
    installed: [installedBuild(5), radio],
  })
  const met = await meetDevices(world.ctx, [...ids, odd, twin])
  expect(met).not.toContain(odd)
  expect(met).toContain(twin)
  expect(await deploymentOf(world, rolloutId, odd)).toBeUndefined()
})

test('a group that an incident has cut off gets nothing until it is over', async () => {
  const { groupId, ids } = await givenStarted(world, 3)
  const opened = { reason: 'stolen', opened_by: 'key:test', opened_at: world.clock.now() }
  await world.db
    .insertInto('incident')
    .values({ id: crypto.randomUUID(), group_id: groupId, ...opened })
    .execute()
  expect(await meetDevices(world.ctx, ids)).toEqual([])
  await world.db
    .updateTable('incident')
    .set({ closed_at: world.clock.now(), closed_by: 'key:test' })
    .where('group_id', '=', groupId)
    .execute()
  expect(await meetDevices(world.ctx, ids)).toHaveLength(3)
})

test('a release that a device rolled back from is not offered to it again', async () => {
  const { ids, groupId, release, rolloutId } = await givenStarted(world, 2)
  await meetDevices(world.ctx, ids)
  const [first = '', second = ''] = ids
  await report(world, first, await deploymentIdOf(world, rolloutId, first), 'rolled_back')
  await act(world, rolloutId, 'cancel')
  const again = await givenRollout(world, groupId, release.id)
  await act(world, again, 'start')
  expect(await meetDevices(world.ctx, ids)).toEqual([second])
})

test('a newer release takes the place of one that was not started, never of one that was', async () => {
  const { ids, groupId, rolloutId } = await givenStarted(world, 3)
  await meetDevices(world.ctx, ids)
  const [queued = '', optedOut = '', started = ''] = ids
  await report(world, optedOut, await deploymentIdOf(world, rolloutId, optedOut), 'opted_out')
  await report(world, started, await deploymentIdOf(world, rolloutId, started), 'downloading')
  const newer = await givenRelease(world, { build: newBuild() })
  const next = await givenRollout(world, groupId, newer.id)
  await act(world, next, 'start')
  expect((await meetDevices(world.ctx, ids)).toSorted()).toEqual([queued, optedOut].toSorted())
  expect((await deploymentOf(world, rolloutId, queued))?.state).toBe('superseded')
  expect((await deploymentOf(world, rolloutId, started))?.state).toBe('downloading')
  await report(world, started, await deploymentIdOf(world, rolloutId, started), 'failed_final')
  // After the end of the one it is the turn of the other, and after a failure a day later.
  expect(await deploymentOf(world, next, started)).toBeUndefined()
  world.clock.advance({ seconds: 86_400 })
  expect(await meetDevices(world.ctx, [started])).toEqual([started])
  expect((await deploymentOf(world, next, started))?.state).toBe('queued')
})

test('security comes before features, then the older rollout', async () => {
  const { ids, groupId } = await givenStarted(world, 1, undefined, { class: 'feature' })
  const fix = await givenRelease(world, { build: newBuild() })
  const second = await givenRollout(world, groupId, fix.id)
  await act(world, second, 'start')
  expect(await meetDevices(world.ctx, ids)).toEqual(ids)
  expect(await deploymentOf(world, second, ids[0] ?? '')).toBeDefined()
})
