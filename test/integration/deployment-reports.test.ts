import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { eventsOf, givenMet, givenOne, historyOf } from '../support/rollout-given.ts'
import {
  deploymentOf,
  hello,
  helloOf,
  receive,
  report,
  update,
} from '../support/rollout-messages.ts'
import { installedBuild, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

test('the whole way, with what was skipped filled in', async () => {
  const { device, id, release, row } = await givenOne(world)
  await report(world, device, id, 'offered')
  await report(world, device, id, 'accepted')
  await report(world, device, id, 'downloading', { progress: 30 })
  await report(world, device, id, 'downloading', { progress: 90 })
  expect(await row()).toMatchObject({ state: 'downloading', progress: 90 })
  await update(world, device, id, release)
  expect(await row()).toMatchObject({ state: 'succeeded', progress: null, code: null })
  expect(await historyOf(world, id)).toEqual([
    'queued engine',
    ...['offered', 'accepted', 'downloading', 'verified', 'installing'].map(
      (state) => `${state} device`,
    ),
    ...['installed', 'rebooting', 'testing', 'succeeded'].map((state) => `${state} device`),
  ])
  expect(await eventsOf(world, device)).toEqual([])
})

test('a device in testing gets its nonce, and again when it says hello', async () => {
  const { device, id, row } = await givenOne(world)
  world.connected.add(device)
  world.sent.length = 0
  await report(world, device, id, 'testing')
  const { commit_nonce: commitNonce } = await row()
  const commit = {
    deviceId: device,
    leaf: 'command',
    body: { command: 'commit', deploymentId: id, commitNonce },
  }
  expect(world.sent).toEqual([commit])
  await hello(world, device)
  expect(world.sent).toEqual([commit, commit])
  world.connected.clear()
})

test('success without proof is not success', async () => {
  const { device, id, release, row } = await givenOne(world)
  const { sha256 } = release
  await report(world, device, id, 'testing')
  const { commit_nonce } = await row()
  const commitNonce = commit_nonce ?? ''
  // The old image still says hello.
  await hello(world, device)
  await report(world, device, id, 'succeeded', { commitNonce, sha256 })
  expect((await row()).state).toBe('testing')
  await hello(world, device, { installed: [installedBuild(release.build, { sha256 })] })
  await report(world, device, id, 'succeeded', { commitNonce: 'ff'.repeat(16), sha256 })
  expect((await row()).state).toBe('testing')
  expect(await eventsOf(world, device)).toEqual(['false-success warning', 'false-success warning'])
  await report(world, device, id, 'succeeded', { commitNonce, sha256 })
  expect((await row()).state).toBe('succeeded')
})

test("about another device's deployment, or none at all, change nothing and are remembered", async () => {
  const { ids, deployments, rolloutId } = await givenMet(world, 2)
  const [a = '', b = ''] = ids
  const [ofA = ''] = deployments
  await report(world, b, ofA, 'failed_final')
  await report(world, b, crypto.randomUUID(), 'failed_final')
  expect((await deploymentOf(world, rolloutId, a))?.state).toBe('queued')
  expect(await eventsOf(world, b)).toEqual(['illegal-report warning', 'illegal-report warning'])
  await report(world, a, ofA, 'failed_final')
  expect((await deploymentOf(world, rolloutId, a))?.state).toBe('failed_final')
  expect(await eventsOf(world, a)).toEqual([])
})

test('twice, late and backward', async () => {
  const { device, id, row } = await givenOne(world)
  const failed = { deploymentId: id, state: 'failed', code: 'net', at: '2026-11-26T11:00:00Z' }
  await report(world, device, id, 'downloading')
  await receive(world, 'report', [
    { deviceId: device, body: failed },
    { deviceId: device, body: failed },
  ])
  await report(world, device, id, 'downloading')
  await receive(world, 'report', [{ deviceId: device, body: failed }])
  expect(await row()).toMatchObject({ state: 'downloading', attempts: 1 })
  await report(world, device, id, 'offered')
  expect(await row()).toMatchObject({ state: 'downloading' })
  expect(await eventsOf(world, device)).toEqual([])
  await report(world, device, id, 'cancelled')
  expect(await eventsOf(world, device)).toEqual(['illegal-report warning'])
  expect(await row()).toMatchObject({ state: 'downloading' })
})

test('what may not be said is audited, answered with what counts, and changes nothing', async () => {
  const { device, id, row } = await givenOne(world)
  const audited = async () => {
    const rows = await world.db
      .selectFrom('audit_event')
      .select(['action', 'actor', 'facts'])
      .where('subject', '=', id)
      .execute()
    return rows.map(({ action, actor, facts }) => ({ action, actor, ...(facts as object) }))
  }
  await report(world, device, id, 'verified')
  const before = await row()
  world.woken.length = 0
  // Honest: said before, and known.
  await report(world, device, id, 'accepted')
  expect(world.woken).toEqual([])
  expect(await audited()).toEqual([])
  await report(world, device, id, 'superseded')
  expect(world.woken).toEqual([device])
  expect(await audited()).toEqual([
    expect.objectContaining({
      action: 'report.refuse',
      actor: `device:${device}`,
      state: 'verified',
      reported: 'superseded',
    }),
  ])
  expect(await row()).toEqual(before)
})

test('the fifth failure is final', async () => {
  const { device, id, row } = await givenOne(world)
  for (let n = 0; n < 5; n++) {
    await report(world, device, id, 'downloading')
    await report(world, device, id, 'failed', { code: 'net' })
  }
  expect(await row()).toMatchObject({ state: 'failed_final', attempts: 5 })
})

test('texts that a database cannot hold, and dates that are none', async () => {
  const { device, id, row } = await givenOne(world)
  const detail = '\u0000 \ud800 ok \u202e'
  await report(world, device, id, 'failed', { code: 'net', detail, at: '0000-01-01T00:00:00Z' })
  expect((await row()).detail).toBe('  \ufffd ok \u202e')
  await hello(world, device, { agent: 'a\u0000b', attributes: { 'k\u0000': '\udfff' } })
  const stored = await world.db
    .selectFrom('device')
    .select(['agent', 'attributes'])
    .where('id', '=', device)
    .executeTakeFirstOrThrow()
  expect(stored).toEqual({ agent: 'a b', attributes: { 'k ': '\ufffd' } })
})

test('a group costs the same number of statements whatever its size', async () => {
  const { ids, deployments } = await givenMet(world, 60)
  const said = (from: number, to: number, state: string) =>
    ids.slice(from, to).map((deviceId, n) => ({
      deviceId,
      body: { deploymentId: deployments[from + n], state, at: '2026-11-26T12:00:00Z' },
    }))
  const small = await world.counter.during(() => receive(world, 'report', said(0, 2, 'verified')))
  const large = await world.counter.during(() => receive(world, 'report', said(2, 60, 'verified')))
  expect(large).toBe(small)
  expect(large).toBeLessThanOrEqual(5)
  const hellos = (from: number, to: number) =>
    ids.slice(from, to).map((deviceId) => ({ deviceId, body: helloOf({ optOut: true }) }))
  const few = await world.counter.during(() => receive(world, 'hello', hellos(0, 2)))
  const many = await world.counter.during(() => receive(world, 'hello', hellos(2, 60)))
  expect(many).toBe(few)
  // One of them asks whether there are groups with a query.
  expect(many).toBeLessThanOrEqual(8)
})
