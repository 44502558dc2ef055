import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { liftPenalty, penaltyView } from '../../server/rollouts/penalty.ts'
import { previewRollout } from '../../server/rollouts/preview.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenOne, newBuild } from '../support/rollout-given.ts'
import { deploymentIdOf, deploymentOf, report } from '../support/rollout-messages.ts'
import {
  act,
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

const dayS = 86_400

/** One device, and a second rollout to its group of a newer release. */
async function givenNext() {
  const first = await givenOne(world)
  const newer = await givenRelease(world, { build: newBuild() })
  const next = await givenRollout(world, first.groupId, newer.id)
  return { ...first, newer, next }
}

const lift = async (deviceId: string, rolledBack = false) =>
  await liftPenalty(world.ctx, { deviceId, reason: 'cable', rolledBack, ...world.by })

test('a device that failed is offered nothing for a day, and then is', async () => {
  const { device, id, next } = await givenNext()
  await report(world, device, id, 'failed_final', { code: 'no-space' })
  await act(world, next, 'start')
  expect(await meetDevices(world.ctx, [device])).toEqual([])
  expect((await previewRollout(world.ctx, next)).excluded).toEqual({ penalty: 1 })
  expect(await penaltyView(world.ctx, device)).toMatchObject({ why: 'failed', rolledBackFrom: [] })
  world.clock.advance({ seconds: dayS })
  expect(await penaltyView(world.ctx, device)).toMatchObject({ until: null, why: null })
  expect(await meetDevices(world.ctx, [device])).toEqual([device])
})

test.each([
  ['an owner who declined', 'declined', 1],
  ['an offer that was refused for a forged one', 'mix-and-match', 1],
  ['an image that came out wrong', 'hash', 0],
  ['a full disk', 'no-space', 0],
])('%s', async (_what, code, offered) => {
  const { device, id, next } = await givenNext()
  await report(world, device, id, 'failed_final', { code })
  await act(world, next, 'start')
  expect(await meetDevices(world.ctx, [device])).toHaveLength(offered)
})

test('five tries over several releases within a day cost a day, four do not', async () => {
  const { device, id, next, rolloutId } = await givenNext()
  const tryOn = async (deploymentId: string, times: number) => {
    for (let n = 0; n < times; n++) {
      await report(world, device, deploymentId, 'downloading')
      await report(world, device, deploymentId, 'failed', { code: 'net' })
    }
  }
  await tryOn(id, 4)
  await act(world, rolloutId, 'cancel')
  await act(world, next, 'start')
  expect(await meetDevices(world.ctx, [device])).toEqual([device])
  await tryOn(await deploymentIdOf(world, next, device), 1)
  await act(world, next, 'cancel')
  const newest = await givenRelease(world, { build: newBuild() })
  const { groupId } = await world.db
    .selectFrom('rollout')
    .select('group_id as groupId')
    .where('id', '=', next)
    .executeTakeFirstOrThrow()
  const third = await givenRollout(world, groupId, newest.id)
  await act(world, third, 'start')
  expect(await meetDevices(world.ctx, [device])).toEqual([])
  expect((await penaltyView(world.ctx, device)).why).toBe('tries')
})

test('a person lifts it, on the record; the device is offered what it may have at once', async () => {
  const { device, id, next } = await givenNext()
  await report(world, device, id, 'failed_final', { code: 'no-space' })
  await act(world, next, 'start')
  expect(await lift(device)).toMatchObject({ until: null })
  expect((await deploymentOf(world, next, device))?.state).toBe('queued')
  const entry = await world.db
    .selectFrom('audit_event')
    .select(['actor', 'action', 'facts'])
    .where('subject', '=', device)
    .executeTakeFirstOrThrow()
  expect(entry).toMatchObject({
    actor: 'key:test',
    action: 'device.lift-penalty',
    facts: { reason: 'cable', rolledBack: false, why: 'failed' },
  })
  // What fails after that counts again.
  world.clock.advance({ seconds: 1 })
  const deployment = await deploymentIdOf(world, next, device)
  await report(world, device, deployment, 'failed_final', { code: 'no-space' })
  expect((await penaltyView(world.ctx, device)).why).toBe('failed')
})

test('a build that it rolled back from is out of reach for good, until that is lifted too', async () => {
  const { device, id, groupId, release } = await givenNext()
  await report(world, device, id, 'testing')
  await report(world, device, id, 'rolled_back', { code: 'health' })
  const again = await givenRollout(world, groupId, release.id)
  await act(world, again, 'start')
  world.clock.advance({ seconds: 30 * dayS })
  expect(await meetDevices(world.ctx, [device])).toEqual([])
  expect((await lift(device)).rolledBackFrom).toMatchObject([{ build: release.build }])
  expect(await deploymentOf(world, again, device)).toBeUndefined()
  expect(await lift(device, true)).toMatchObject({ until: null, rolledBackFrom: [] })
  expect((await deploymentOf(world, again, device))?.state).toBe('queued')
})

test('a rollout back is exempt', async () => {
  const { device, id, next } = await givenNext()
  await report(world, device, id, 'failed_final', { code: 'no-space' })
  const { release_id } = await world.db
    .updateTable('rollout')
    .set({ kind: 'rollback' })
    .where('id', '=', next)
    .returning((eb) => eb.ref('release_id').$notNull().as('release_id'))
    .executeTakeFirstOrThrow()
  await world.db
    .insertInto('rollback_target')
    .values({ rollout_id: next, device_id: device, release_id })
    .execute()
  await world.db
    .updateTable('device')
    .set({ installed: JSON.stringify([installedBuild(1_000_000)]) })
    .where('id', '=', device)
    .execute()
  await act(world, next, 'start')
  expect(await meetDevices(world.ctx, [device])).toEqual([device])
})
