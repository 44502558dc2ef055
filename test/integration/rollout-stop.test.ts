import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenStarted } from '../support/rollout-given.ts'
import { deploymentIdOf, report, update } from '../support/rollout-messages.ts'
import { act, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

const drive = () => driveRollouts(world.ctx, createLookLimit())
const stateOf = async (id: string) => (await getRollout(world.db, id)).state
const failed = (id: string, deviceId: string, deploymentId: string) =>
  report(world, deviceId, deploymentId, 'failed_final', { code: id })

test('when the first three fail, at once, and nothing more is admitted', async () => {
  const { ids, rolloutId } = await givenStarted(world, 10)
  await meetDevices(world.ctx, ids.slice(0, 4))
  for (const [n, id] of ids.slice(0, 3).entries()) {
    expect(await stateOf(rolloutId)).toBe('running')
    await failed(`c${n}`, id, await deploymentIdOf(world, rolloutId, id))
  }
  expect(await getRollout(world.db, rolloutId)).toMatchObject({
    state: 'paused',
    reason: 'All of the first 3 devices failed',
  })
  expect(await meetDevices(world.ctx, ids)).toEqual([])
  const audit = await world.db
    .selectFrom('audit_event')
    .select(['actor', 'action'])
    .where('subject', '=', rolloutId)
    .orderBy('seq', 'desc')
    .executeTakeFirst()
  expect(audit).toEqual({ actor: 'system', action: 'rollout.pause' })
})

test('resumed by a person, only what comes after counts', async () => {
  const { ids, rolloutId } = await givenStarted(world, 10)
  await meetDevices(world.ctx, ids)
  for (const id of ids.slice(0, 3))
    await failed('c', id, await deploymentIdOf(world, rolloutId, id))
  await act(world, rolloutId, 'resume')
  await drive()
  expect(await stateOf(rolloutId)).toBe('running')
  for (const id of ids.slice(3, 6))
    await failed('c', id, await deploymentIdOf(world, rolloutId, id))
  expect(await stateOf(rolloutId)).toBe('paused')
})

test('three of twenty stop it, two of twenty do not', async () => {
  const { ids, rolloutId, release } = await givenStarted(world, 25)
  await meetDevices(world.ctx, ids)
  for (const id of ids.slice(0, 18))
    await update(world, id, await deploymentIdOf(world, rolloutId, id), release)
  for (const id of ids.slice(18, 20))
    await failed('c', id, await deploymentIdOf(world, rolloutId, id))
  await drive()
  expect(await stateOf(rolloutId)).toBe('running')
  const [third = ''] = ids.slice(20)
  await failed('c', third, await deploymentIdOf(world, rolloutId, third))
  expect((await getRollout(world.db, rolloutId)).reason).toContain('3 of 21 devices failed')
})
