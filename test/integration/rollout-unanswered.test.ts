import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endUnanswered } from '../../server/deployments/end.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { progressOf } from '../../server/rollouts/progress.ts'
import { createTestDatabase } from '../support/database.ts'
import { brokenBounds, givenBounded } from '../support/rollout-bounds.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { deploymentIdOf, report, update } from '../support/rollout-messages.ts'
import { act, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

const hours = (n: number) => world.clock.advance({ seconds: n * 3_600 })

test('who does not acknowledge for a day frees the slot, counts in no share, and is given it anew when it is back', async () => {
  const { ids, rolloutId, release } = await givenBounded(world, 2, { max_in_flight: 1 })
  const [silent = '', other = ''] = ids
  const counts = async () => (await progressOf(world.db, { id: rolloutId })).counts
  expect(await meetDevices(world.ctx, [silent])).toEqual([silent])
  const first = await deploymentIdOf(world, rolloutId, silent)
  hours(23.9)
  await endUnanswered(world.ctx)
  expect(await meetDevices(world.ctx, [other])).toEqual([])
  hours(0.2)
  await endUnanswered(world.ctx)
  expect(await counts()).toEqual({ expired: 1 })

  expect(await meetDevices(world.ctx, [other])).toEqual([other])
  expect(await meetDevices(world.ctx, [silent])).toEqual([])
  const theirs = await deploymentIdOf(world, rolloutId, other)
  await update(world, other, theirs, release)
  expect(await meetDevices(world.ctx, [silent])).toEqual([silent])
  expect(await meetDevices(world.ctx, [silent])).toEqual([])
  // What it says about the old one changes nothing any more.
  await report(world, silent, first, 'offered')
  expect(await counts()).toEqual({ expired: 1, queued: 1, succeeded: 1 })
  const progress = await progressOf(world.db, { id: rolloutId })
  expect(progress.all).toEqual({ succeeded: 1, failed: 0 })
  expect(progress.phases[0]?.admitted).toBe(2)
  expect([...(await brokenInvariants(world)), ...(await brokenBounds(world, [rolloutId]))]).toEqual(
    [],
  )
})

test('an offer that was acknowledged has no such limit, and in a paused rollout none runs', async () => {
  const { ids, rolloutId } = await givenBounded(world, 2, { max_in_flight: 2 })
  const [offered = ''] = ids
  await meetDevices(world.ctx, ids)
  await report(world, offered, await deploymentIdOf(world, rolloutId, offered), 'offered')
  await act(world, rolloutId, 'pause')
  hours(30)
  await endUnanswered(world.ctx)
  const { counts } = await progressOf(world.db, { id: rolloutId })
  expect(counts).toEqual({ queued: 1, offered: 1 })
})
