import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { previewGroup } from '../../server/rollouts/preview-store.ts'
import { previewRollout } from '../../server/rollouts/preview.ts'
import { createRollout } from '../../server/rollouts/service.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import { newBuild } from '../support/rollout-given.ts'
import { deploymentIdOf, deploymentOf, update } from '../support/rollout-messages.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
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

async function setRegion(deviceId: string, region: string) {
  await world.db
    .updateTable('device')
    .set({ attributes: JSON.stringify({ region }) })
    .where('id', '=', deviceId)
    .execute()
}

/** A running rollout to those in the EU, and a group of two, of which the first is there. */
async function givenEu(query = 'attributes.region = "eu"') {
  const groupId = await givenGroup(world)
  const ids = await givenDevices(world, groupId, 2)
  const [eu = '', us = ''] = ids
  await setRegion(eu, 'eu')
  await setRegion(us, 'us')
  const release = await givenRelease(world, { build: newBuild() })
  const rolloutId = newId(world.clock.now())
  const phase = { no: 1, percent: 100, success_percent: 95, min_executed: 1, hold: false }
  await createRollout(world.ctx, {
    id: rolloutId,
    name: 'EU',
    releaseId: release.id,
    groupId,
    settings: { query },
    phases: [phase],
    ...world.by,
  })
  await act(world, rolloutId, 'start')
  return { ids, eu, us, release, rolloutId }
}

test('a query is asked of a device when it is met, and never again', async () => {
  const { ids, eu, us, rolloutId } = await givenEu()
  expect((await previewRollout(world.ctx, rolloutId)).excluded).toEqual({ 'not-targeted': 1 })
  expect(await meetDevices(world.ctx, ids)).toEqual([eu])
  await setRegion(eu, 'us')
  expect(await meetDevices(world.ctx, ids)).toEqual([])
  expect((await deploymentOf(world, rolloutId, eu))?.state).toBe('queued')
  await setRegion(us, 'eu')
  expect(await meetDevices(world.ctx, ids)).toEqual([us])
})

test('a query costs one read, whatever the number of devices, and none where there is none', async () => {
  const { ids, us } = await givenEu()
  await meetDevices(world.ctx, ids)
  expect(await world.counter.during(() => meetDevices(world.ctx, [us]))).toBe(2)
  const groupId = await givenGroup(world)
  const others = await givenDevices(world, groupId, 20)
  expect(await world.counter.during(() => meetDevices(world.ctx, others))).toBe(1)
})

test('a rollout completes when nobody is left whom its query finds', async () => {
  const { ids, eu, release, rolloutId } = await givenEu()
  await meetDevices(world.ctx, ids)
  await update(world, eu, await deploymentIdOf(world, rolloutId, eu), release)
  await driveRollouts(world.ctx, createLookLimit())
  expect((await getRollout(world.db, rolloutId)).state).toBe('completed')
})

test('a text that is no query any more finds nobody, and holds up no other rollout', async () => {
  const { ids, rolloutId } = await givenEu()
  await world.db
    .updateTable('rollout')
    .set({ query: 'region ~ eu' })
    .where('id', '=', rolloutId)
    .execute()
  expect(await meetDevices(world.ctx, ids)).toEqual([])
  expect((await previewRollout(world.ctx, rolloutId)).eligible).toBe(0)
})

test('of a large group a part is looked at, the same one each time', async () => {
  const groupId = await givenGroup(world)
  await givenDevices(world, groupId, 2_000)
  const { id: releaseId } = await givenRelease(world, { build: newBuild() })
  const phases = [{ no: 1, kind: 'percent' as const, percent: 100 }]
  const matching = sql<boolean>`true`
  const now = world.clock.now()
  const question = { groupId, releaseId, companions: [], matching, phases, now, part: 0.5 }
  const [row] = await previewGroup(world.db, question)
  expect(row).toMatchObject({ reason: null, phases: [1], contact: 'never' })
  expect(row?.n).toBeGreaterThan(600)
  expect(row?.n).toBeLessThan(1_400)
  expect(await previewGroup(world.db, question)).toEqual([row])
})
