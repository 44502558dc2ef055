import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { retryFailed, rollBack } from '../../server/rollouts/derived.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { listNoWayBack } from '../../server/rollouts/rollback-store.ts'
import { previewRollback } from '../../server/rollouts/rollback-view.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenStarted, newBuild } from '../support/rollout-given.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { deploymentOf, hello, report } from '../support/rollout-messages.ts'
import { type Ruled, givenRules, sayings } from '../support/rollout-rules.ts'
import {
  act,
  givenDevices,
  givenRelease,
  givenRollout,
  installedBuild,
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

const drive = () => driveRollouts(world.ctx, createLookLimit())
const after = (minutes: number) => world.clock.advance({ seconds: minutes * 60 })
const command = (rolloutId: string) => ({ id: newId(world.clock.now()), rolloutId, ...world.by })

/** Devices that were brought to `old`, and then, most of them, to `bad`. */
async function givenBad(more: Parameters<typeof givenRelease>[1] = {}, devices = 8) {
  const { groupId, ids, release: old, rolloutId } = await givenStarted(world, devices)
  await meetDevices(world.ctx, ids)
  await said.succeed({ id: rolloutId, release: old }, ids)
  await drive()
  after(60)
  const bad = await givenRelease(world, { build: newBuild(), ...more })
  const id = await givenRollout(world, groupId, bad.id)
  await act(world, id, 'start')
  await meetDevices(world.ctx, ids)
  return { groupId, ids, old, bad, id }
}

const given = async (rolloutId: string, deviceId: string) =>
  (await deploymentOf(world, rolloutId, deviceId))?.release_id

test('devices go back to what each had; nobody else is touched', async () => {
  const { ids, old, bad, id } = await givenBad()
  const [a = '', b = '', failed = '', testing = '', ...rest] = ids
  await said.succeed({ id, release: bad }, [a, b])
  await said.fail({ id }, [failed])
  await said.say(id, testing, 'testing')
  await expect(rollBack(world.ctx, command(id))).rejects.toMatchObject({
    code: 'illegal-transition',
  })
  await act(world, id, 'cancel')
  const asked = command(id)
  const [draft, again] = [await rollBack(world.ctx, asked), await rollBack(world.ctx, asked)]
  expect(again.id).toBe(draft.id)
  expect(draft).toMatchObject({
    state: 'draft',
    kind: 'rollback',
    parent_id: id,
    release_id: old.id,
    priority: 600,
    name: 'Spring update (rollback)',
  })
  await expect(rollBack(world.ctx, command(id))).rejects.toMatchObject({ code: 'conflict' })
  await act(world, draft.id, 'start')
  expect((await meetDevices(world.ctx, ids)).toSorted()).toEqual([a, b].toSorted())
  expect(await given(draft.id, a)).toBe(old.id)
  // What is being tested is not disturbed; then it goes back too.
  await said.succeed({ id, release: bad }, [testing])
  expect(await given(draft.id, testing)).toBe(old.id)
  await said.succeed({ id: draft.id, release: old }, [a, b, testing])
  await drive()
  expect(await getRollout(world.db, draft.id)).toMatchObject({ state: 'completed' })
  expect(await meetDevices(world.ctx, [failed, ...rest])).toEqual([])
  expect(await brokenInvariants(world)).toEqual([])
})

test('what was taken back is not offered again by another rollout of it, until somebody forgives', async () => {
  const { groupId, ids, old, bad, id } = await givenBad({}, 2)
  await said.succeed({ id, release: bad }, ids)
  await drive()
  const draft = await rollBack(world.ctx, command(id))
  await act(world, draft.id, 'start')
  await meetDevices(world.ctx, ids)
  await said.succeed({ id: draft.id, release: old }, ids)
  const another = await givenRollout(world, groupId, bad.id)
  await act(world, another, 'start')
  expect(await meetDevices(world.ctx, ids)).toEqual([])
  const [device = ''] = ids
  after(1)
  await world.db
    .insertInto('device_penalty_lift')
    .values({
      device_id: device,
      lifted_at: world.clock.now(),
      rolled_back_until: world.clock.now(),
      lifted_by: 'key:test',
      reason: 'found the fault',
    })
    .execute()
  expect(await meetDevices(world.ctx, ids)).toEqual([device])
})

test('before the click it is said what each goes back to, and which cannot, why, and what to sign', async () => {
  const { groupId, ids, old, bad, id } = await givenBad({}, 5)
  await said.succeed({ id, release: bad }, ids)
  const [unknown = ''] = await givenDevices(world, groupId, 1, { installed: [] })
  await meetDevices(world.ctx, [unknown])
  await said.succeed({ id, release: bad }, [unknown])
  const [blocked = '', left = '', foreign = ''] = ids
  await world.db
    .updateTable('device')
    .set({ state: 'disabled' })
    .where('id', '=', blocked)
    .execute()
  await world.db.deleteFrom('device_group_member').where('device_id', '=', left).execute()
  await world.db
    .updateTable('deployment')
    .set({ from_build: 5 })
    .where('device_id', '=', foreign)
    .where('rollout_id', '=', id)
    .execute()
  const preview = await previewRollback(world.db, id, 'fleet')
  expect(preview).toMatchObject({
    devices: 6,
    back: [{ releaseId: old.id, build: old.build, devices: 2 }],
  })
  const counts = Object.fromEntries(preview.cannot.map(({ reason, devices }) => [reason, devices]))
  expect(counts).toEqual({
    'device-blocked': 1,
    'left-group': 1,
    'unknown-before': 1,
    'no-release': 1,
  })
  expect(preview.cannot.find(({ reason }) => reason === 'no-release')?.remedy).toContain(
    'sign fw-MODEL',
  )
  const listed = await listNoWayBack(
    world.db,
    { rolloutId: id, reach: 'fleet' },
    { after: undefined, limit: 10 },
  )
  expect(new Set(listed.map((row) => row.device_id))).toEqual(
    new Set([blocked, left, unknown, foreign]),
  )
  const [first] = listed
  const next = await listNoWayBack(
    world.db,
    { rolloutId: id, reach: 'fleet' },
    { after: first?.device_id, limit: 10 },
  )
  expect(next).toEqual(listed.slice(1))
})

test.each([
  ['security-version', { svn: 2 }, async () => {}],
  [
    'withdrawn',
    {},
    async ({ old }: { old: Release }) => {
      await world.db
        .updateTable('release')
        .set({ state: 'withdrawn' })
        .where('id', '=', old.id)
        .execute()
    },
  ],
])('where no device can go back there is no rollback: %s', async (reason, more, spoil) => {
  const { ids, old, bad, id } = await givenBad(more, 2)
  await said.succeed({ id, release: bad }, ids)
  await drive()
  await spoil({ old })
  expect((await previewRollback(world.db, id, 'fleet')).cannot).toMatchObject([
    { reason, devices: 2 },
  ])
  await expect(rollBack(world.ctx, command(id))).rejects.toMatchObject({ code: 'not-ready' })
  const left = await world.db
    .selectFrom('rollout')
    .select('id')
    .where('parent_id', '=', id)
    .execute()
  expect(left).toEqual([])
})

test('by rule: within one report it has failed, and its devices go back at once', async () => {
  const { ids, old, id: earlier, ...first } = await brought(10)
  const bad = await givenRelease(world, { build: newBuild() })
  const rules = [
    {
      kinds: ['failed_final' as const],
      minExecuted: 4,
      percent: 25,
      scope: 'rollout' as const,
      action: 'rollback' as const,
    },
  ]
  const id = await givenRollout(world, first.groupId, bad.id)
  await world.db
    .updateTable('rollout')
    .set({ abort_rules: JSON.stringify({ defaults: true, rules }) })
    .where('id', '=', id)
    .execute()
  await act(world, id, 'start')
  await meetDevices(world.ctx, ids)
  const [a = '', b = '', c = '', worse = ''] = ids
  await said.succeed({ id, release: bad }, [a, b, c])
  expect(await getRollout(world.db, id)).toMatchObject({ state: 'running' })
  await said.fail({ id }, [worse])
  expect(await getRollout(world.db, id)).toMatchObject({ state: 'failed' })
  const children = await world.db
    .selectFrom('rollout')
    .selectAll()
    .where('parent_id', '=', id)
    .execute()
  expect(children).toMatchObject([
    { kind: 'rollback', state: 'running', release_id: old.id, created_by: 'system', phase_no: 1 },
  ])
  const audit = await world.db
    .selectFrom('audit_event')
    .select(['action', 'facts'])
    .where('subject', '=', id)
    .orderBy('seq', 'desc')
    .executeTakeFirst()
  expect(audit).toMatchObject({
    action: 'rollout.fail',
    facts: { takenBackBy: children[0]?.id },
  })
  expect((await meetDevices(world.ctx, ids)).toSorted()).toEqual([a, b, c].toSorted())
  expect(earlier).not.toBe(id)
})

/** Devices that were brought to a release of this server, each to its own. */
async function brought(devices: number) {
  const { groupId, ids, release: old, rolloutId: id } = await givenStarted(world, devices)
  await meetDevices(world.ctx, ids)
  await said.succeed({ id, release: old }, ids)
  await drive()
  after(60)
  return { groupId, ids, old, id }
}

test('who failed tries again in a rollout of its own, with its own counters', async () => {
  const one: Ruled = await givenRules(world, 8, { defaults: false, rules: [] })
  const [a = '', b = '', c = '', ...others] = one.ids
  await expect(retryFailed(world.ctx, command(one.id))).rejects.toMatchObject({ code: 'not-ready' })
  await said.fail(one, [a, b])
  await said.say(one.id, c, 'rolled_back')
  await said.succeed(one, others)
  await drive()
  const costs = await world.counter.during(async () => {
    const draft = await retryFailed(world.ctx, command(one.id))
    expect(draft).toMatchObject({ kind: 'retry', parent_id: one.id, release_id: one.release.id })
  })
  expect(costs).toBeLessThanOrEqual(12)
  const [draft] = await world.db
    .selectFrom('rollout')
    .selectAll()
    .where('parent_id', '=', one.id)
    .execute()
  const id = draft?.id ?? ''
  await act(world, id, 'start')
  // A day later: who failed is left alone until then.
  after(25 * 60)
  await meetDevices(world.ctx, one.ids)
  const met = await world.db
    .selectFrom('deployment')
    .select('device_id')
    .where('rollout_id', '=', id)
    .execute()
  // The third took the image back by itself: it is not offered that again.
  expect(new Set(met.map((row) => row.device_id))).toEqual(new Set([a, b]))
  await said.succeed({ id, release: one.release }, [a])
  const before = await world.db
    .selectFrom('deployment')
    .select('state')
    .where('rollout_id', '=', one.id)
    .where('device_id', '=', a)
    .execute()
  expect(before).toEqual([{ state: 'failed_final' }])
  expect(await brokenInvariants(world)).toEqual([])
})

test('a rollout of several components cannot be taken back as one', async () => {
  const { groupId, ids } = await givenStarted(world, 1)
  await hello(world, ids[0] ?? '', {
    installed: [installedBuild(1), installedBuild(1, { component: 'radio' })],
  })
  const main = await givenRelease(world, { build: newBuild() })
  const radio = await givenRelease(world, { build: newBuild(), component: 'radio' })
  const id = await givenRollout(world, groupId, main.id, undefined, [radio.id])
  await act(world, id, 'start')
  await act(world, id, 'cancel')
  await expect(rollBack(world.ctx, command(id))).rejects.toThrow('several components')
  await report(world, ids[0] ?? '', newId(world.clock.now()), 'offered')
})
