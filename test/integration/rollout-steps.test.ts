import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endCancelled, endWithdrawn } from '../../server/deployments/end.ts'
import { deploymentsOf } from '../../server/deployments/list-store.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { progressOf } from '../../server/rollouts/progress.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { hello, report } from '../support/rollout-messages.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
  installedBuild,
  type Release,
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

let models = 0

/** Releases of a model of its own, `[build, least build before it]`; a running rollout of the last one to devices of these builds. */
async function givenLine(
  builds: readonly (readonly [build: number, minPrevious?: number])[],
  devices: readonly number[],
) {
  const model = `line-${++models}`
  const releases: Release[] = []
  for (const [build, least] of builds) {
    releases.push(
      await givenRelease(world, {
        model,
        build,
        ...(least === undefined ? {} : { min_previous: least }),
      }),
    )
  }
  const groupId = await givenGroup(world)
  const ids: string[] = []
  for (const build of devices) {
    const installed = build < 0 ? [] : [installedBuild(build)]
    ids.push(...(await givenDevices(world, groupId, 1, { model, installed })))
  }
  const target = releases.at(-1)
  if (!target) throw new Error('no release')
  const rolloutId = await givenRollout(world, groupId, target.id)
  await act(world, rolloutId, 'start')
  return { model, releases, groupId, ids, rolloutId, device: ids[0] ?? '' }
}

async function openBuild(rolloutId: string, deviceId: string) {
  return await world.db
    .selectFrom('deployment')
    .innerJoin('release', 'release.id', 'deployment.release_id')
    .select(['deployment.id', 'release.build', 'is_step', 'deployment.state'])
    .where('rollout_id', '=', rolloutId)
    .where('device_id', '=', deviceId)
    .orderBy('release.build', 'desc')
    .executeTakeFirst()
}

async function take(given: Awaited<ReturnType<typeof givenLine>>, deviceId: string) {
  await meetDevices(world.ctx, [deviceId])
  const open = await openBuild(given.rolloutId, deviceId)
  const release = given.releases.find(({ build }) => build === open?.build)
  if (!open || !release) throw new Error('nothing is offered')
  const { rolloutId, model } = given
  const row = await world.db
    .selectFrom('release')
    .select('svn')
    .where('id', '=', release.id)
    .executeTakeFirstOrThrow()
  await report(world, deviceId, open.id, 'testing')
  const installed = [installedBuild(release.build, { sha256: release.sha256, svn: row.svn })]
  await hello(world, deviceId, { model, installed })
  const nonce = await world.db
    .selectFrom('deployment')
    .select('commit_nonce')
    .where('id', '=', open.id)
    .executeTakeFirstOrThrow()
  await report(world, deviceId, open.id, 'succeeded', {
    commitNonce: nonce.commit_nonce ?? '',
    sha256: release.sha256,
  })
  return { build: release.build, rolloutId }
}

test.each([
  ['a build below it', 3],
  ['no build at all', -1],
])(
  'a release that needs a step is not offered to %s where nothing leads on, and is from there on',
  async (_what, build) => {
    const { ids, device } = await givenLine([[10, 4]], [build, 4])
    const met = await meetDevices(world.ctx, ids)
    expect(met).not.toContain(device)
    expect(met).toEqual(ids.slice(1))
  },
)

test('a release is reached over the steps that lead there, and the device counts once', async () => {
  const given = await givenLine([[5], [7], [10, 5], [20, 10]], [1])
  const { device, rolloutId } = given
  expect((await take(given, device)).build).toBe(5)
  // The end of the one step was the time for the next.
  expect(await openBuild(rolloutId, device)).toMatchObject({ build: 10, is_step: true })
  expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual({ queued: 1 })
  expect((await take(given, device)).build).toBe(10)
  await driveRollouts(world.ctx, createLookLimit())
  expect((await getRollout(world.db, rolloutId)).state).toBe('running')
  expect((await take(given, device)).build).toBe(20)
  const progress = await progressOf(world.db, { id: rolloutId })
  expect(progress.counts).toEqual({ succeeded: 1 })
  expect(progress.all).toEqual({ succeeded: 1, failed: 0 })
  await driveRollouts(world.ctx, createLookLimit())
  expect((await getRollout(world.db, rolloutId)).state).toBe('completed')
  expect(await brokenInvariants(world)).toEqual([])
})

test('a release is not offered after a step that failed, and the failure is the device’s verdict', async () => {
  const { device, rolloutId } = await givenLine([[5], [10, 5]], [1])
  await meetDevices(world.ctx, [device])
  const open = await openBuild(rolloutId, device)
  await report(world, device, open?.id ?? '', 'failed_final', { code: 'no-space' })
  expect(await meetDevices(world.ctx, [device])).toEqual([])
  expect((await progressOf(world.db, { id: rolloutId })).all).toEqual({ succeeded: 0, failed: 1 })
})

test('the way is another one when a step is withdrawn before it was begun', async () => {
  const { releases, device, rolloutId } = await givenLine([[5], [6], [10, 5]], [1])
  await meetDevices(world.ctx, [device])
  expect(await openBuild(rolloutId, device)).toMatchObject({ build: 5, state: 'queued' })
  await world.db
    .updateTable('release')
    .set({ state: 'withdrawn' })
    .where('id', '=', releases[0]?.id ?? '')
    .execute()
  await endWithdrawn(world.ctx)
  expect(await openBuild(rolloutId, device)).toMatchObject({ build: 5, state: 'cancelled' })
  expect(await meetDevices(world.ctx, [device])).toEqual([device])
  expect(await openBuild(rolloutId, device)).toMatchObject({ build: 6, state: 'queued' })
  expect(await brokenInvariants(world)).toEqual([])
})

test('many processes that meet a device at once offer it one step', async () => {
  const { device, rolloutId } = await givenLine([[5], [10, 5]], [1])
  await Promise.all(Array.from({ length: 6 }, () => meetDevices(world.ctx, [device])))
  const rows = await world.db
    .selectFrom('deployment')
    .select('id')
    .where('rollout_id', '=', rolloutId)
    .execute()
  expect(rows).toHaveLength(1)
})

test('a step is not offered that fell out of the signed list', async () => {
  const { model, device, rolloutId } = await givenLine([[5], [6], [10, 5]], [1])
  const [six] = await world.db
    .selectFrom('release')
    .select(['version'])
    .where('model', '=', model)
    .where('build', '=', 6)
    .execute()
  const signed = JSON.stringify({ targets: { [`fw/${model}/${six?.version}/main.bin`]: {} } })
  const at = world.clock.now()
  await world.db
    .insertInto('metadata_file')
    .values({
      repository: 'image',
      role: `fw-${model}`,
      version: 1,
      state: 'published',
      signed,
      signed_sha256: '0'.repeat(64),
      envelope: '{}',
      expires_at: at,
      created_at: at,
      published_at: at,
    })
    .execute()
  await meetDevices(world.ctx, [device])
  expect(await openBuild(rolloutId, device)).toMatchObject({ build: 6 })
})

test('every deployment of a device is listed, whatever the size of a page', async () => {
  const given = await givenLine([[5], [10, 5]], [1, 1])
  for (const id of given.ids) await take(given, id)
  await meetDevices(world.ctx, given.ids)
  const seen: string[] = []
  for (let after: string | undefined; ; after = seen.at(-1)) {
    const page = await deploymentsOf(world.db, given.rolloutId, { reach: 'fleet', after }, 1)
    if (page.length === 0) break
    seen.push(...page.map(({ id }) => id))
  }
  expect(new Set(seen).size).toBe(4)
  expect(seen).toHaveLength(4)
})

test('a rollout to the first so many waits for those of them that are on their way', async () => {
  const given = await givenLine([[5], [10, 5]], [5, 1])
  const { ids, rolloutId } = given
  const [direct = '', stepping = ''] = ids
  await world.db
    .updateTable('rollout_phase')
    .set({ kind: 'count', percent: null, count: 2, rate: JSON.stringify({ perMinute: 1 }) })
    .where('rollout_id', '=', rolloutId)
    .execute()
  await take(given, direct)
  world.clock.advance({ seconds: 61 })
  expect((await take(given, stepping)).build).toBe(5)
  // The step is behind it, and the rate lets nobody go on within this minute.
  expect(await meetDevices(world.ctx, ids)).toEqual([])
  await driveRollouts(world.ctx, createLookLimit())
  expect((await getRollout(world.db, rolloutId)).state).toBe('running')
  world.clock.advance({ seconds: 61 })
  expect((await take(given, stepping)).build).toBe(10)
  await driveRollouts(world.ctx, createLookLimit())
  expect((await getRollout(world.db, rolloutId)).state).toBe('completed')
})

test('a step that a newer release took the place of, which was then taken back, is begun again', async () => {
  const given = await givenLine([[5], [10, 5]], [1])
  const { model, groupId, device, rolloutId } = given
  await meetDevices(world.ctx, [device])
  const newer = await givenRelease(world, { model, build: 30 })
  const other = await givenRollout(world, groupId, newer.id)
  await act(world, other, 'start')
  expect(await meetDevices(world.ctx, [device])).toEqual([device])
  expect(await openBuild(rolloutId, device)).toMatchObject({ build: 5, state: 'superseded' })
  await act(world, other, 'cancel')
  await endCancelled(world.ctx)
  expect(await meetDevices(world.ctx, [device])).toEqual([device])
  expect((await take(given, device)).build).toBe(5)
  expect((await take(given, device)).build).toBe(10)
  expect(await brokenInvariants(world)).toEqual([])
})
