import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endCancelled, endGone, endOverdue } from '../../server/deployments/end.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { previewDefinition, previewRollout } from '../../server/rollouts/preview.ts'
import { progressOf } from '../../server/rollouts/progress.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { createEmbeddedDatabase } from '../support/database.ts'
import { brokenBounds, givenBounded } from '../support/rollout-bounds.ts'
import { givenMet, givenStarted, ledgerOf } from '../support/rollout-given.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { choose, deploymentIdOf, hello, report, update } from '../support/rollout-messages.ts'
import { act, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createEmbeddedDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

/** The embedded database runs the same statements; here each of them runs once on it. */
test('phases, from the first device to the end', async () => {
  const { ids, rolloutId, release, groupId } = await givenStarted(world, 20, [
    { percent: 50 },
    { percent: 100 },
  ])
  const phases = [50, 100].map((percent, n) => ({ no: n + 1, percent }))
  const asked = { groupId, releaseId: release.id, phases }
  expect(await previewDefinition(world.ctx, asked)).toMatchObject({
    devices: 20,
    eligible: 20,
    exact: false,
    phases: [{ devices: 10 }, { devices: 10 }],
  })
  const exact = await previewRollout(world.ctx, rolloutId)
  const first = await meetDevices(world.ctx, ids)
  expect(exact.phases.map((phase) => phase.devices)).toEqual([first.length, 20 - first.length])
  for (const id of first) {
    await update(world, id, await deploymentIdOf(world, rolloutId, id), release)
  }
  await driveRollouts(world.ctx, createLookLimit())
  expect((await getRollout(world.db, rolloutId)).phase_no).toBe(2)
  for (const id of await meetDevices(world.ctx, ids)) {
    await update(world, id, await deploymentIdOf(world, rolloutId, id), release)
  }
  await driveRollouts(world.ctx, createLookLimit())
  expect((await getRollout(world.db, rolloutId)).state).toBe('completed')
})

test('bounds: of one rollout and of all, a rate, a count and a frozen cohort', async () => {
  const ctx = { ...world.ctx, config: { ...world.ctx.config, maxInFlight: 6 } }
  const rate = { perMinute: 24 }
  const rated = await givenBounded(world, 10, { max_in_flight: 5 }, { rate })
  expect(await meetDevices(ctx, rated.ids)).toHaveLength(2)
  const counted = await givenBounded(world, 10, {}, { kind: 'count', count: 3 })
  expect(await meetDevices(ctx, counted.ids)).toHaveLength(3)
  const rest = await givenStarted(world, 10)
  expect(await meetDevices(ctx, rest.ids)).toHaveLength(1)
  const rollouts = [rated, counted, rest].map((one) => one.rolloutId)
  expect(await brokenBounds(world, rollouts)).toEqual([])
  for (const id of rollouts) await act(world, id, 'cancel')
  await endCancelled(world.ctx)
})

test('choices, silence, revocation and cancel', async () => {
  const { ids, deployments, rolloutId } = await givenMet(world, 5)
  const [postponing = '', silent = '', gone = '', out = ''] = ids
  await report(world, postponing, deployments[0] ?? '', 'offered')
  const until = new Date(world.clock.now().getTime() + 3_600_000).toISOString()
  await choose(world, postponing, { choice: 'postpone', until })
  await report(world, silent, deployments[1] ?? '', 'testing')
  await hello(world, silent)
  await choose(world, out, { choice: 'optOut' })
  world.clock.advance({ seconds: 7_200 })
  await endOverdue(world.ctx)
  await world.db.updateTable('device').set({ state: 'revoked' }).where('id', '=', gone).execute()
  await endGone(world.ctx, 'all')
  await endGone(world.ctx, [gone])
  expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual({
    postponed: 1,
    lost: 1,
    expired: 1,
    opted_out: 1,
    queued: 1,
  })
  await act(world, rolloutId, 'cancel')
  await endCancelled(world.ctx)
  expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual({
    cancelled: 3,
    lost: 1,
    expired: 1,
  })
  expect(await ledgerOf(world, postponing)).toEqual(['postpone applied'])
  expect(await brokenInvariants(world)).toEqual([])
})
