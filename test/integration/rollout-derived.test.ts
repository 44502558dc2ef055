import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endWithdrawn } from '../../server/deployments/end.ts'
import { newId } from '../../server/ids.ts'
import { retryFailed, rollBack } from '../../server/rollouts/derived.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { editRollout } from '../../server/rollouts/edit.ts'
import { explainRollout } from '../../server/rollouts/explain.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { previewRollout } from '../../server/rollouts/preview.ts'
import { actOnRollout } from '../../server/rollouts/service.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenStarted, newBuild } from '../support/rollout-given.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { deploymentOf } from '../support/rollout-messages.ts'
import { sayings } from '../support/rollout-rules.ts'
import {
  act,
  givenRelease,
  givenRollout,
  type Release,
  rolloutWorld,
  type RolloutWorld,
} from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
let said: ReturnType<typeof sayings>
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
  said = sayings(world)
})
afterAll(() => handle[Symbol.asyncDispose]())

const command = (rolloutId: string) => ({ id: newId(world.clock.now()), rolloutId, ...world.by })

/** Two devices that ran `old`, one that ran `other`, and all of them something bad now; what takes it back is a draft. */
async function givenWaysBack() {
  const other = await givenRelease(world, { build: newBuild() })
  const { groupId, ids, release: old, rolloutId } = await givenStarted(world, 3)
  await meetDevices(world.ctx, ids)
  await said.succeed({ id: rolloutId, release: old }, ids)
  const bad = await givenRelease(world, { build: newBuild() })
  const id = await givenRollout(world, groupId, bad.id)
  await act(world, id, 'start')
  await meetDevices(world.ctx, ids)
  const [odd = ''] = ids
  await world.db
    .updateTable('deployment')
    .set({ from_build: other.build })
    .where('rollout_id', '=', id)
    .where('device_id', '=', odd)
    .execute()
  await said.succeed({ id, release: bad }, ids)
  await driveRollouts(world.ctx, createLookLimit())
  const draft = await rollBack(world.ctx, command(id))
  return { ids, odd, old, other, bad, groupId, id, back: draft.id }
}

async function withdraw({ id }: Pick<Release, 'id'>) {
  await world.db.updateTable('release').set({ state: 'withdrawn' }).where('id', '=', id).execute()
}

test('what is told of a rollout back is about what each device had', async () => {
  const { ids, odd, other, back } = await givenWaysBack()
  expect(await previewRollout(world.ctx, back)).toMatchObject({
    eligible: 3,
    phases: [{ devices: 3 }],
  })
  await act(world, back, 'start')
  const told = await explainRollout(world.ctx, { rolloutId: back, deviceId: odd, reach: 'fleet' })
  expect(told).toMatchObject({ code: 'admitted', facts: { build: other.build } })
  expect((await meetDevices(world.ctx, ids)).toSorted()).toEqual(ids.toSorted())
})

test.each(['met', 'not met yet'])(
  'what one device would go back to is withdrawn, and the others go on: %s',
  async (when) => {
    const { ids, odd, old, other, back } = await givenWaysBack()
    await act(world, back, 'start')
    if (when === 'met') await meetDevices(world.ctx, [odd])
    await withdraw(other)
    await endWithdrawn(world.ctx)
    const others = ids.filter((one) => one !== odd)
    expect((await meetDevices(world.ctx, ids)).toSorted()).toEqual(others.toSorted())
    await said.succeed({ id: back, release: old }, others)
    await driveRollouts(world.ctx, createLookLimit())
    expect(await getRollout(world.db, back)).toMatchObject({ state: 'completed' })
    expect((await deploymentOf(world, back, odd))?.state).toBe(
      when === 'met' ? 'cancelled' : undefined,
    )
    expect(await brokenInvariants(world)).toEqual([])
  },
)

test('what was taken back from a device is no step on its way either, until somebody forgives', async () => {
  const { ids, old, bad, groupId, back } = await givenWaysBack()
  await act(world, back, 'start')
  await meetDevices(world.ctx, ids)
  const [, device = ''] = ids
  await said.succeed({ id: back, release: old }, [device])
  const next = await givenRelease(world, { build: newBuild(), min_previous: bad.build })
  const id = await givenRollout(world, groupId, next.id)
  await act(world, id, 'start')
  expect(await meetDevices(world.ctx, [device])).toEqual([])
  // Nor does the rollout wait for it.
  const excluded = { 'must-pass-through': 1 }
  expect(await previewRollout(world.ctx, id)).toMatchObject({ eligible: 2, excluded })
  world.clock.advance({ seconds: 60 })
  const at = world.clock.now()
  await world.db
    .insertInto('device_penalty_lift')
    .values({
      device_id: device,
      lifted_at: at,
      rolled_back_until: at,
      lifted_by: 'key:test',
      reason: 'found the fault',
    })
    .execute()
  expect(await meetDevices(world.ctx, [device])).toEqual([device])
  expect(await deploymentOf(world, id, device)).toMatchObject({ release_id: bad.id, is_step: true })
})

test('what the engine made needs the words that the server demands once a person edits it', async () => {
  const { back } = await givenWaysBack()
  await world.db
    .updateTable('rollout')
    .set({ created_by: 'system' })
    .where('id', '=', back)
    .execute()
  const ctx = { ...world.ctx, config: { ...world.ctx.config, rolloutApprovals: 1 } }
  const by = { rolloutId: back, ...world.by }
  await actOnRollout(ctx, { ...by, action: 'start' })
  const edited = await editRollout(ctx, { ...by, settings: { priority: 10 } })
  expect(edited).toMatchObject({ state: 'paused' })
  const resume = async () => await actOnRollout(ctx, { ...by, action: 'resume' })
  await expect(resume()).rejects.toMatchObject({ code: 'not-ready' })
  const definitionHash = edited.definition_hash?.toString('hex')
  await actOnRollout(ctx, { ...by, actor: 'key:other', action: 'approve', definitionHash })
  expect(await resume()).toMatchObject({ state: 'running' })
})

test('who tries again does so in the windows, the limits and the query of the first try', async () => {
  const { ids, rolloutId } = await givenStarted(world, 2)
  const window = { cron: '0 1 * * *', duration: 'PT4H', zone: 'UTC' }
  await world.db
    .updateTable('rollout')
    .set({
      install_window: JSON.stringify(window),
      limits: JSON.stringify({ testing: 600_000 }),
      query: 'model = "gate-2"',
    })
    .where('id', '=', rolloutId)
    .execute()
  world.clock.advance({ seconds: 16 * 3_600 })
  await meetDevices(world.ctx, ids)
  await said.fail({ id: rolloutId }, ids)
  expect(await retryFailed(world.ctx, command(rolloutId))).toMatchObject({
    kind: 'retry',
    install_window: window,
    ignore_windows: null,
    limits: { testing: 600_000 },
    query: 'model = "gate-2"',
  })
})

test('of several tries to try again at once one is made', async () => {
  const { ids, rolloutId } = await givenStarted(world, 4)
  await meetDevices(world.ctx, ids)
  await said.fail({ id: rolloutId }, ids)
  const asked = Array.from({ length: 4 }, () => retryFailed(world.ctx, command(rolloutId)))
  const made = (await Promise.allSettled(asked)).filter(({ status }) => status === 'fulfilled')
  expect(made).toHaveLength(1)
})
