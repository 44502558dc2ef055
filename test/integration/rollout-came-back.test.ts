import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { storeHellos } from '../../server/devices/hello.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import { eventsOf, givenMet, givenStarted, historyOf, newBuild } from '../support/rollout-given.ts'
import {
  deploymentIdOf,
  deploymentOf,
  hello,
  helloOf,
  update,
} from '../support/rollout-messages.ts'
import {
  act,
  givenRelease,
  givenRollout,
  installedBuild,
  rolloutWorld,
  type RolloutWorld,
} from '../support/rollout-world.ts'

/* A success holds only while the old version is not seen again (rollouts.md §12 d). */

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

/** Devices that have succeeded, and others that keep the rollout running. */
async function givenSucceeded(count: number, more = 20) {
  const given = await givenMet(world, count + more, { component: 'main' })
  const { ids, deployments, release } = given
  for (const [n, id] of ids.slice(0, count).entries()) {
    await update(world, id, deployments[n] ?? '', release)
  }
  const stateOf = async (n: number) => {
    return (await deploymentOf(world, given.rolloutId, ids[n] ?? ''))?.state
  }
  return { ...given, stateOf }
}
const old = { installed: [installedBuild(1)] }

test('who runs the old version again is rolled back, on the record; who runs the new one is not', async () => {
  const { ids, deployments, rolloutId, release, stateOf } = await givenSucceeded(2)
  const [back = '', stays = ''] = ids
  await hello(world, back, old)
  await hello(world, stays, {
    installed: [installedBuild(release.build, { sha256: release.sha256 })],
    agent: 'another',
  })
  expect([await stateOf(0), await stateOf(1)]).toEqual(['rolled_back', 'succeeded'])
  expect(await deploymentOf(world, rolloutId, back)).toMatchObject({
    code: 'came-back-old',
    detail: 'runs build 1',
  })
  expect((await historyOf(world, deployments[0] ?? '')).slice(-2)).toEqual([
    'succeeded device',
    'rolled_back engine',
  ])
  expect(await eventsOf(world, back)).toEqual(['outcome-corrected warning'])
  expect(await eventsOf(world, stays)).toEqual([])
  const counts = await world.db
    .selectFrom('deployment_count')
    .select(['state'])
    .select((eb) => eb.fn.sum<string>('n').as('n'))
    .where('rollout_id', '=', rolloutId)
    .where('state', 'in', ['succeeded', 'rolled_back'])
    .groupBy('state')
    .orderBy('state')
    .execute()
  expect(counts.map(({ state, n }) => [state, Number(n)])).toEqual([
    ['rolled_back', 1],
    ['succeeded', 1],
  ])
  // Said twice, it counts once.
  await hello(world, back, old)
  expect(await eventsOf(world, back)).toHaveLength(1)
})

test('it stops the rollout as any failure does', async () => {
  const { ids, rolloutId } = await givenSucceeded(3)
  for (const id of ids.slice(0, 2)) await hello(world, id, old)
  expect((await getRollout(world.db, rolloutId)).state).toBe('running')
  await hello(world, ids[2] ?? '', old)
  expect((await getRollout(world.db, rolloutId)).state).toBe('paused')
})

test.each([
  ['cancel', 'succeeded'],
  ['pause', 'rolled_back'],
] as const)('after the rollout was told to %s it is %s', async (action, state) => {
  const { ids, rolloutId, stateOf } = await givenSucceeded(1)
  await act(world, rolloutId, action, { reason: 'enough' })
  await hello(world, ids[0] ?? '', old)
  expect(await stateOf(0)).toBe(state)
})

test('of another component nothing is taken back', async () => {
  const { ids, release, stateOf } = await givenSucceeded(1)
  const [device = ''] = ids
  const main = installedBuild(release.build, { sha256: release.sha256 })
  await hello(world, device, { installed: [main, installedBuild(9, { component: 'radio' })] })
  await hello(world, device, { installed: [main, installedBuild(8, { component: 'radio' })] })
  expect(await stateOf(0)).toBe('succeeded')
})

test('who was given something older since runs what it should', async () => {
  const { ids, stateOf, groupId } = await givenSucceeded(1)
  const [device = ''] = ids
  const older = await givenRelease(world, { build: 5 })
  world.clock.advance({ seconds: 1 })
  const rollback = await givenRollout(world, groupId, older.id)
  const now = world.clock.now()
  await world.db
    .insertInto('deployment')
    .values({
      id: crypto.randomUUID(),
      rollout_id: rollback,
      device_id: device,
      release_id: older.id,
      component: 'main',
      phase_no: 1,
      state: 'testing',
      created_at: now,
      changed_at: now,
    })
    .execute()
  await hello(world, device, { installed: [installedBuild(5, { sha256: older.sha256 })] })
  expect(await stateOf(0)).toBe('succeeded')
})

test('who falls back from a newer release to this one has this one', async () => {
  const { ids, groupId, release, stateOf } = await givenSucceeded(1)
  const [device = ''] = ids
  world.clock.advance({ seconds: 1 })
  const next = await givenRelease(world, { build: newBuild() })
  const rolloutId = await givenRollout(world, groupId, next.id)
  await act(world, rolloutId, 'start')
  await meetDevices(world.ctx, [device])
  await update(world, device, await deploymentIdOf(world, rolloutId, device), next)
  await hello(world, device, {
    installed: [installedBuild(release.build, { sha256: release.sha256 })],
  })
  expect((await deploymentOf(world, rolloutId, device))?.state).toBe('rolled_back')
  expect(await stateOf(0)).toBe('succeeded')
})

test('costs one statement more where a build went down, and none elsewhere', async () => {
  const { ids } = await givenStarted(world, 1)
  const [deviceId = ''] = ids
  const costOf = async (build: number) =>
    await world.counter.during(() =>
      inTransaction(world.ctx.db, (tx) =>
        storeHellos(
          tx,
          [{ deviceId, body: helloOf({ installed: [installedBuild(build)] }) }],
          world.clock.now(),
        ),
      ),
    )
  await costOf(7)
  const up = await costOf(8)
  expect(await costOf(8)).toBe(up)
  expect(await costOf(7)).toBe(up + 1)
})
