import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import type { Context } from '../../server/context.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { bucketOf } from '../../server/rollouts/bucket.ts'
import { progressOf } from '../../server/rollouts/progress.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { meetingWorker } from '../../server/rollouts/workers.ts'
import { createTestDatabase } from '../support/database.ts'
import { bound, givenBounded } from '../support/rollout-bounds.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { deploymentIdOf, report } from '../support/rollout-messages.ts'
import { act, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
})
beforeEach(() => {
  world = rolloutWorld(handle)
  // Nothing of an earlier test is due on this day.
  world.clock.advance({ seconds: (days += 2) * 86_400 })
})
afterAll(() => handle[Symbol.asyncDispose]())
let days = 0

type Step = () => Promise<boolean>
const workerOf = (ctx: Context): Step => {
  const worker = meetingWorker(ctx)
  return async () => await worker.step(new AbortController().signal)
}
/** Until it wants to rest, which it has to soon. */
async function untilIdle(step: Step): Promise<number> {
  for (let steps = 1; steps < 100; steps++) if (!(await step())) return steps
  throw new Error('never rests')
}
const queued = async (id: string) => (await progressOf(world.db, { id })).counts.queued ?? 0
const byBucket = async (rolloutId: string, ids: readonly string[]) => {
  const { seed } = await getRollout(world.db, rolloutId)
  return ids.toSorted((a, b) => bucketOf(seed, a) - bucketOf(seed, b))
}

test('the connected wait for room and get it in the order of their buckets', async () => {
  const { ids, rolloutId } = await givenBounded(world, 30, { max_in_flight: 3 })
  for (const id of ids) world.connected.add(id)
  const step = workerOf(world.ctx)
  await untilIdle(step)
  const order = await byBucket(rolloutId, ids)
  expect(world.woken.toSorted()).toEqual(order.slice(0, 3).toSorted())
  // Nothing to do: the running rollouts, and once a second whether there is room.
  world.clock.advance({ seconds: 2 })
  expect(await world.counter.during(() => untilIdle(step))).toBe(2)
  expect(await world.counter.during(() => untilIdle(step))).toBe(1)
  world.woken.length = 0
  await report(
    world,
    order[1] ?? '',
    await deploymentIdOf(world, rolloutId, order[1] ?? ''),
    'failed_final',
  )
  world.woken.length = 0
  world.clock.advance({ seconds: 1 })
  await untilIdle(step)
  expect(world.woken).toEqual(order.slice(3, 4))
  // Who went away meanwhile is passed over.
  world.connected.delete(order[4] ?? '')
  await report(
    world,
    order[0] ?? '',
    await deploymentIdOf(world, rolloutId, order[0] ?? ''),
    'failed_final',
  )
  world.woken.length = 0
  world.clock.advance({ seconds: 1 })
  await untilIdle(step)
  world.clock.advance({ seconds: 1 })
  await untilIdle(step)
  expect(world.woken).toEqual(order.slice(5, 6))
  await act(world, rolloutId, 'cancel')
})

test('a rate is kept by two processes, and all of it is used', async () => {
  const { ids, rolloutId } = await givenBounded(world, 60, {}, { rate: { perMinute: 24 } })
  const connected = [new Set(ids.slice(0, 30)), new Set(ids.slice(30))]
  const steps = connected.map((own) => {
    const transport = {
      ...world.ctx.transport,
      isConnected: (id: string) => own.has(id),
      connectedDevices: () => [...own],
    }
    return workerOf({ ...world.ctx, transport } as unknown as Context)
  })
  const admitted: number[] = []
  for (let second = 0; second < 150; second++) {
    await Promise.all(steps.map(untilIdle))
    admitted.push(await queued(rolloutId))
    world.clock.advance({ seconds: 1 })
  }
  for (const [at, n] of admitted.entries()) {
    expect(n - (admitted[at - 60] ?? 0)).toBeLessThanOrEqual(24)
  }
  expect(admitted.at(-1)).toBeGreaterThanOrEqual(50)
  expect(await brokenInvariants(world)).toEqual([])
  await act(world, rolloutId, 'cancel')
})

test('a rollout that is paused admits nobody who waits, one that is wider admits them at once', async () => {
  const { ids, rolloutId } = await givenBounded(world, 20, { max_in_flight: 2 })
  for (const id of ids) world.connected.add(id)
  const step = workerOf(world.ctx)
  await untilIdle(step)
  await act(world, rolloutId, 'pause')
  await bound(world, rolloutId, { max_in_flight: 5 })
  world.clock.advance({ seconds: 2 })
  await untilIdle(step)
  expect(await queued(rolloutId)).toBe(2)
  await act(world, rolloutId, 'resume')
  await untilIdle(step)
  expect(await queued(rolloutId)).toBe(5)
  await bound(world, rolloutId, { max_in_flight: null })
  world.clock.advance({ seconds: 61 })
  await untilIdle(step)
  expect(await queued(rolloutId)).toBe(20)
  await act(world, rolloutId, 'cancel')
})

test('of several rollouts the one of higher priority gets what is free in all', async () => {
  const ctx = { ...world.ctx, config: { ...world.ctx.config, maxInFlight: 10 } }
  const low = await givenBounded(world, 20, { priority: 400 })
  const high = await givenBounded(world, 20, { priority: 600 })
  for (const id of [...low.ids, ...high.ids]) world.connected.add(id)
  const step = workerOf(ctx)
  await untilIdle(step)
  expect((await queued(low.rolloutId)) + (await queued(high.rolloutId))).toBe(9)
  for (const id of [low, high]) await act({ ...world, ctx }, id.rolloutId, 'cancel')
})
