import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { claimInDetail } from '../../server/rollouts/claim.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { progressOf } from '../../server/rollouts/progress.ts'
import { createTestDatabase } from '../support/database.ts'
import { bound, boundPhase, brokenBounds, givenBounded } from '../support/rollout-bounds.ts'
import { givenStarted, newBuild } from '../support/rollout-given.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { deploymentIdOf, deploymentOf, report } from '../support/rollout-messages.ts'
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

/** As that many processes would, each with its own part of the devices; and one that has all. */
const crowd = async (ids: readonly string[], processes = 8) => {
  const parts = Array.from({ length: processes }, (_, n) =>
    ids.filter((__, at) => at % processes === n),
  )
  const met = await Promise.all([...parts, ids].map((part) => meetDevices(world.ctx, part)))
  return met.flat()
}
const countsOf = async (id: string) => (await progressOf(world.db, { id })).counts
const end = async (rolloutId: string, device: string) =>
  await report(world, device, await deploymentIdOf(world, rolloutId, device), 'failed_final')

// The first, for what other rollouts hold counts too.
test('the bound over all rollouts holds over all of them, with a tenth kept for what passes the queue', async () => {
  const ctx = { ...world.ctx, config: { ...world.ctx.config, maxInFlight: 20 } }
  const a = await givenStarted(world, 15)
  const b = await givenBounded(world, 15, { max_in_flight: 12 })
  const meetings = Array.from({ length: 8 }, (_, n) => meetDevices(ctx, n % 2 ? a.ids : b.ids))
  expect((await Promise.all(meetings)).flat()).toHaveLength(18)
  const urgent = await givenBounded(world, 15, { pass_queue: true })
  const more = await Promise.all([a, b, urgent, urgent].map(({ ids }) => meetDevices(ctx, ids)))
  expect(more.flat()).toHaveLength(2)
  expect(await countsOf(urgent.rolloutId)).toEqual({ queued: 2 })
  for (const { rolloutId } of [a, b, urgent]) await act(world, rolloutId, 'cancel')
})

test('never more in flight than the bound, however many meet at once; room that comes is used', async () => {
  const { ids, rolloutId } = await givenBounded(world, 40, { max_in_flight: 7 })
  const first = await crowd(ids)
  expect(first).toHaveLength(7)
  expect(await crowd(ids)).toEqual([])
  for (const id of first.slice(0, 2)) await end(rolloutId, id)
  expect(await crowd(ids)).toHaveLength(2)
  expect(await countsOf(rolloutId)).toEqual({ queued: 7, failed_final: 2 })
  expect(await brokenInvariants(world)).toEqual([])
})

test('an offer holds its slot for an hour; then it is the owner’s turn, and coming back counts at once', async () => {
  const { ids, rolloutId } = await givenBounded(world, 10, { max_in_flight: 2 })
  const [one = '', other = ''] = await meetDevices(world.ctx, ids)
  await report(world, one, await deploymentIdOf(world, rolloutId, one), 'offered')
  expect(await meetDevices(world.ctx, ids)).toEqual([])
  world.clock.advance({ seconds: 3_601 })
  const [third = '', ...more] = await meetDevices(world.ctx, ids)
  expect(more).toEqual([])
  // Back from the owner, one too many for a while: nobody begins before two have ended.
  await report(world, one, await deploymentIdOf(world, rolloutId, one), 'downloading')
  await end(rolloutId, other)
  expect(await meetDevices(world.ctx, ids)).toEqual([])
  await end(rolloutId, third)
  expect(await meetDevices(world.ctx, ids)).toHaveLength(1)
})

test('the rate is one for all processes, and for one that starts anew', async () => {
  const { ids, rolloutId } = await givenBounded(world, 60, {}, { rate: { perMinute: 24 } })
  let met = (await crowd(ids)).length
  expect(met).toBe(2)
  for (let second = 0; second < 55; second += 5) {
    world.clock.advance({ seconds: 5 })
    met += (await crowd(ids, 3)).length
  }
  expect(await brokenBounds(world, [rolloutId])).toEqual([])
  expect(met).toBeGreaterThanOrEqual(16)
  expect(met).toBeLessThanOrEqual(24)
  expect(await countsOf(rolloutId)).toEqual({ queued: met })
})

test('the rate grows with what was admitted', async () => {
  const rate = { basePerMinute: 1, factor: 5, per: 'admitted', step: 2, maxPerMinute: 600 }
  const { ids } = await givenBounded(world, 60, {}, { rate })
  const met: number[] = []
  for (let minute = 0; minute < 5; minute++) {
    met.push((await meetDevices(world.ctx, ids)).length)
    world.clock.advance({ seconds: 61 })
  }
  // 1, 1, then 5 a minute with a burst of one, 25 with two, …
  expect(met.slice(0, 3)).toEqual([1, 1, 1])
  expect(met.reduce((a, b) => a + b)).toBeLessThanOrEqual(10)
})

test('bytes: no more devices begin than the line is to carry', async () => {
  const { ids } = await givenBounded(world, 30, { bytes_per_minute: 120 })
  // The image has five bytes: 24 a minute, two at once.
  expect(await crowd(ids)).toHaveLength(2)
  world.clock.advance({ seconds: 60 })
  expect(await crowd(ids)).toHaveLength(2)
})

test('a count is exact; the phase after it takes the others', async () => {
  const { ids, rolloutId } = await givenBounded(world, 40, {}, { kind: 'count', count: 5 }, [
    { percent: 100 },
    { percent: 100 },
  ])
  expect(await crowd(ids)).toHaveLength(5)
  await act(world, rolloutId, 'advance')
  expect(await crowd(ids)).toHaveLength(35)
  const { phases } = await progressOf(world.db, { id: rolloutId })
  expect(phases.map((phase) => phase.admitted)).toEqual([5, 35])
  expect(phases.map((phase) => phase.counts.queued)).toEqual([5, 35])
})

test('higher priority goes first, before security and age', async () => {
  const { ids, groupId, rolloutId } = await givenStarted(world, 1)
  const feature = await givenRelease(world, { build: newBuild(), class: 'feature' })
  const high = await givenRollout(world, groupId, feature.id)
  await bound(world, high, { priority: 501 })
  await act(world, high, 'start')
  expect(await meetDevices(world.ctx, ids)).toEqual(ids)
  expect(await deploymentOf(world, high, ids[0] ?? '')).toBeDefined()
  expect(await deploymentOf(world, rolloutId, ids[0] ?? '')).toBeUndefined()
})

test('a full rollout costs who asks two reads, an admission at most ten statements', async () => {
  const { ids } = await givenBounded(world, 30, { max_in_flight: 20, bytes_per_minute: 1_000_000 })
  let met: string[] = []
  const admission = await world.counter.during(async () => {
    met = await meetDevices(world.ctx, ids)
  })
  expect(met).toHaveLength(20)
  expect(admission).toBeLessThanOrEqual(10)
  expect(await world.counter.during(() => meetDevices(world.ctx, ids))).toBe(2)
  expect(await world.counter.during(() => meetDevices(world.ctx, met))).toBe(1)
})

test('who was withheld is told why, and until when', async () => {
  const { ids, rolloutId, release } = await givenBounded(world, 3, {}, { rate: { perMinute: 1 } })
  const wanted = ids.map((deviceId, bucket) => ({
    rolloutId,
    deviceId,
    releaseId: release.id,
    component: 'main',
    phaseNos: [1],
    bucket,
    bounded: true,
  }))
  const { met, withheld } = await claimInDetail(world.ctx, wanted)
  expect(met).toEqual(ids.slice(0, 1))
  expect(withheld).toMatchObject([
    { deviceId: ids[1], reason: 'rate', until: new Date(world.clock.now().getTime() + 60_001) },
    { deviceId: ids[2], reason: 'rate' },
  ])
  await act(world, rolloutId, 'pause')
  expect(await claimInDetail(world.ctx, wanted)).toEqual({ met: [], withheld: [] })
})

test('a rollout that gets a bound between the reading and the lock admits nobody unbounded', async () => {
  const { ids, rolloutId, release } = await givenStarted(world, 3)
  await bound(world, rolloutId, { max_in_flight: 1 })
  const stale = ids.map((deviceId) => ({
    rolloutId,
    deviceId,
    releaseId: release.id,
    component: 'main',
    phaseNos: [1],
    bucket: 0,
    bounded: false,
  }))
  expect((await claimInDetail(world.ctx, stale)).met).toEqual([])
  expect(await meetDevices(world.ctx, ids)).toHaveLength(1)
})

test('nor one whose phase with a rate was opened meanwhile', async () => {
  const phases = [{ percent: 100 }, { percent: 100 }]
  const { ids, rolloutId, release } = await givenStarted(world, 3, phases)
  const rate = JSON.stringify({ perMinute: 1 })
  await world.db
    .updateTable('rollout_phase')
    .set({ rate })
    .where('rollout_id', '=', rolloutId)
    .where('no', '=', 2)
    .execute()
  await act(world, rolloutId, 'advance')
  const stale = ids.map((deviceId) => ({
    rolloutId,
    deviceId,
    releaseId: release.id,
    component: 'main',
    phaseNos: [1],
    bucket: 0,
    bounded: false,
  }))
  expect((await claimInDetail(world.ctx, stale)).met).toEqual([])
  expect(await meetDevices(world.ctx, ids)).toHaveLength(1)
})

test('a device of two rollouts that are both bounded never waits in a circle', async () => {
  const groupId = await givenGroup(world)
  const ids = await givenDevices(world, groupId, 20)
  const rollouts: string[] = []
  for (const component of ['main', 'main', 'main']) {
    const release = await givenRelease(world, { build: newBuild(), component })
    const id = await givenRollout(world, groupId, release.id)
    await bound(world, id, { max_in_flight: 4 })
    await boundPhase(world, id, { rate: JSON.stringify({ perMinute: 600 }) })
    await act(world, id, 'start')
    rollouts.push(id)
  }
  await Promise.all([crowd(ids), crowd(ids.toReversed())])
  for (const id of rollouts) expect((await countsOf(id)).queued ?? 0).toBeLessThanOrEqual(4)
  expect(await brokenInvariants(world)).toEqual([])
})
