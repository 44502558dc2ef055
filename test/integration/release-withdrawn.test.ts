import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endCancelled, endWithdrawn } from '../../server/deployments/end.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { stopWithdrawn } from '../../server/rollouts/withdrawn.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenMet, givenStarted, historyOf } from '../support/rollout-given.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { deploymentOf, report, update } from '../support/rollout-messages.ts'
import {
  act,
  givenDevices,
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

const withdraw = async (id: string) =>
  await world.db.updateTable('release').set({ state: 'withdrawn' }).where('id', '=', id).execute()
const stateOf = async (id: string) => (await getRollout(world.db, id)).state
/** What the workers do, until there is nothing left. */
async function work() {
  while (await stopWithdrawn(world.ctx));
  while (await endCancelled(world.ctx));
  while (await endWithdrawn(world.ctx));
}

test('takes back what is not being installed, wakes those devices, and lets the others finish', async () => {
  const { ids, deployments, rolloutId, release, groupId } = await givenMet(world, 5)
  const [queued = '', downloading = '', optedOut = '', installing = '', done = ''] = ids
  const [d0 = '', d1 = '', d2 = '', d3 = '', d4 = ''] = deployments
  await report(world, downloading, d1, 'downloading')
  await report(world, optedOut, d2, 'opted_out')
  await report(world, installing, d3, 'installing')
  await update(world, done, d4, release)
  await withdraw(release.id)
  world.woken.length = 0
  await work()
  const states = await Promise.all(
    ids.map(async (id) => (await deploymentOf(world, rolloutId, id))?.state),
  )
  expect(states).toEqual(['cancelled', 'cancelled', 'cancelled', 'installing', 'succeeded'])
  expect(await deploymentOf(world, rolloutId, queued)).toMatchObject({ code: 'release-withdrawn' })
  expect((await historyOf(world, d0)).at(-1)).toBe('cancelled engine')
  expect(world.woken.toSorted()).toEqual([queued, downloading, optedOut].toSorted())
  expect(await getRollout(world.db, rolloutId)).toMatchObject({
    state: 'cancelled',
    reason: 'The release was withdrawn',
    ended_at: world.clock.now(),
  })
  const [late = ''] = await givenDevices(world, groupId, 1)
  expect(await meetDevices(world.ctx, [late])).toEqual([])
  await update(world, installing, d3, release)
  expect((await deploymentOf(world, rolloutId, installing))?.state).toBe('succeeded')
  expect(await brokenInvariants(world)).toEqual([])
})

test('stops rollouts that are paused or were never started, says so in the audit, and no others', async () => {
  const other = await givenStarted(world, 1)
  const paused = await givenStarted(world, 0)
  await act(world, paused.rolloutId, 'pause')
  const draft = await givenRollout(world, paused.groupId, paused.release.id)
  await withdraw(paused.release.id)
  await work()
  await work()
  expect(await stateOf(paused.rolloutId)).toBe('cancelled')
  expect(await stateOf(draft)).toBe('cancelled')
  expect(await stateOf(other.rolloutId)).toBe('running')
  const audit = await world.db
    .selectFrom('audit_event')
    .select(['actor', 'action', 'subject'])
    .where('subject', 'in', [paused.rolloutId, draft])
    .where('action', '=', 'rollout.cancel')
    .execute()
  expect(audit.map(({ actor, subject }) => `${actor} ${subject}`).toSorted()).toEqual(
    [`system ${draft}`, `system ${paused.rolloutId}`].toSorted(),
  )
})

test('ends the offer that a completed rollout left to an owner who opted out', async () => {
  const { ids, deployments, rolloutId, release } = await givenMet(world, 1)
  const [device = ''] = ids
  await report(world, device, deployments[0] ?? '', 'opted_out')
  await world.db
    .updateTable('rollout')
    .set({ state: 'completed' })
    .where('id', '=', rolloutId)
    .execute()
  await withdraw(release.id)
  await work()
  expect(await stateOf(rolloutId)).toBe('completed')
  expect((await deploymentOf(world, rolloutId, device))?.state).toBe('cancelled')
})
