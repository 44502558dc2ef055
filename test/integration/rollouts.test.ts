import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endCancelled } from '../../server/deployments/end.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { progressOf } from '../../server/rollouts/progress.ts'
import { rolloutStates } from '../../server/rollouts/state.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { meetingWorker } from '../../server/rollouts/workers.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  act,
  brokenInvariants,
  deploymentIdOf,
  deploymentOf,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
  hello,
  installedBuild,
  report,
  rolloutWorld,
  type RolloutWorld,
  update,
} from '../support/rollout-world.ts'

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

/** A started rollout to a group of its own. */
async function given(devices: number, phases?: Parameters<typeof givenRollout>[3], release = {}) {
  const groupId = await givenGroup(world)
  const ids = await givenDevices(world, groupId, devices)
  const published = await givenRelease(world, { model: 'gate-2', build: nextBuild++, ...release })
  const rolloutId = await givenRollout(world, groupId, published.id, phases)
  await act(world, rolloutId, 'start')
  return { groupId, ids, release: published, rolloutId }
}
let nextBuild = 100

describe('creating and starting', () => {
  test('costs the same for ten devices and a thousand, and writes no row for any', async () => {
    const release = await givenRelease(world, { build: nextBuild++ })
    const costs: number[] = []
    for (const size of [10, 1_000]) {
      const groupId = await givenGroup(world)
      await givenDevices(world, groupId, size)
      let rolloutId = ''
      const create = await world.counter.during(async () => {
        rolloutId = await givenRollout(world, groupId, release.id, [
          { percent: 1 },
          { percent: 100 },
        ])
      })
      const start = await world.counter.during(() => act(world, rolloutId, 'start'))
      costs.push(create, start)
      const { counts } = await progressOf(world.db, { id: rolloutId })
      expect(counts).toEqual({})
    }
    expect(costs.slice(2)).toEqual(costs.slice(0, 2))
    expect(costs[0]).toBeLessThanOrEqual(6)
    expect(costs[1]).toBeLessThanOrEqual(7)
  })

  test('a release that is not published is refused, a published one is not', async () => {
    const groupId = await givenGroup(world)
    const draft = await givenRelease(world, { build: nextBuild++, state: 'draft' })
    await expect(givenRollout(world, groupId, draft.id)).rejects.toMatchObject({
      code: 'not-ready',
    })
    const published = await givenRelease(world, { build: nextBuild++ })
    await expect(givenRollout(world, groupId, published.id)).resolves.toEqual(expect.any(String))
    await expect(givenRollout(world, published.id, published.id)).rejects.toMatchObject({
      code: 'not-found',
    })
  })

  test('every step is audited with who and what', async () => {
    const { rolloutId } = await given(0)
    await act(world, rolloutId, 'pause', { reason: 'lunch' })
    const rows = await world.db
      .selectFrom('audit_event')
      .select(['action', 'actor', 'facts'])
      .where('subject', '=', rolloutId)
      .orderBy('seq')
      .execute()
    expect(rows.map((row) => row.action)).toEqual([
      'rollout.create',
      'rollout.start',
      'rollout.pause',
    ])
    expect(rows.at(-1)).toMatchObject({
      actor: 'key:test',
      facts: { from: 'running', to: 'paused', reason: 'lunch' },
    })
  })

  test('one of two racing operators wins, and one audit row says so', async () => {
    const { rolloutId } = await given(0)
    const results = await Promise.allSettled([
      act(world, rolloutId, 'pause'),
      act(world, rolloutId, 'pause'),
      act(world, rolloutId, 'pause'),
    ])
    const lost = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason.code] : [],
    )
    expect(lost).toHaveLength(2)
    for (const code of lost) expect(['conflict', 'illegal-transition']).toContain(code)
    const { n } = await world.db
      .selectFrom('audit_event')
      .select(sql<number>`count(*)::int`.as('n'))
      .where('subject', '=', rolloutId)
      .executeTakeFirstOrThrow()
    expect(n).toBe(3)
  })
})

describe('meeting devices', () => {
  test('writes rows for those in contact only, once, in the same number of statements', async () => {
    const { ids, rolloutId } = await given(1_000)
    expect(await meetDevices(world.ctx, ids.slice(0, 10))).toHaveLength(10)
    expect(await meetDevices(world.ctx, ids.slice(0, 10))).toEqual([])
    const ten = await world.counter.during(() => meetDevices(world.ctx, ids.slice(10, 20)))
    const hundreds = await world.counter.during(() => meetDevices(world.ctx, ids.slice(20, 500)))
    expect(hundreds).toBe(ten)
    expect(ten).toBeLessThanOrEqual(5)
    expect(await world.counter.during(() => meetDevices(world.ctx, ids.slice(0, 400)))).toBe(1)
    expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual({ queued: 500 })
  })

  test('many processes that meet the same devices write one row each', async () => {
    const { ids, rolloutId } = await given(50)
    const met = await Promise.all(Array.from({ length: 6 }, () => meetDevices(world.ctx, ids)))
    expect(met.flat()).toHaveLength(50)
    expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual({ queued: 50 })
  })

  test('the database puts devices into the same buckets', async () => {
    const { ids, rolloutId } = await given(300, [{ percent: 20 }, { percent: 100 }])
    const { seed } = await getRollout(world.db, rolloutId)
    const { rows } = await sql<{ id: string }>`
      select id from unnest(${ids}::uuid[]) device(id)
      where ('x' || left(encode(sha256(${seed}::bytea || uuid_send(id)), 'hex'), 13))::bit(52)::bigint
        / 4503599627370496.0::float8 < 0.2`.execute(world.db)
    const met = await meetDevices(world.ctx, ids)
    expect(met.toSorted()).toEqual(rows.map((row) => row.id).toSorted())
    expect(met.length).toBeGreaterThan(20)
    expect(met.length).toBeLessThan(120)
  })

  test.each([
    ['another model', { model: 'other-1' }, {}],
    ['other hardware', { hardware_ids: ['rev-z'] }, {}],
    ['a higher build', { installed: [installedBuild(9_999)] }, {}],
    ['a higher security version', { installed: [installedBuild(1, { svn: 2 })] }, {}],
    ['a build below the mandatory step', { installed: [installedBuild(3)] }, { min_previous: 4 }],
    ['no build at all, and a mandatory step', { installed: [] }, { min_previous: 4 }],
    ['other components only', { installed: [installedBuild(1, { component: 'radio' })] }, {}],
    ['a missing other component', {}, { requires: { radio: 5 } }],
    ['the state disabled', { state: 'disabled' as const }, {}],
    ['the state revoked', { state: 'revoked' as const }, {}],
    ['never said hello', { model: null, installed: [] }, {}],
  ])('a device with %s gets nothing, its honest twin does', async (_what, device, release) => {
    const { groupId, ids, rolloutId } = await given(1, undefined, release)
    const [odd = ''] = await givenDevices(world, groupId, 1, device)
    const radio = installedBuild(6, { component: 'radio' })
    const [twin = ''] = await givenDevices(world, groupId, 1, {
      installed: [installedBuild(5), radio],
    })
    const met = await meetDevices(world.ctx, [...ids, odd, twin])
    expect(met).not.toContain(odd)
    expect(met).toContain(twin)
    expect(await deploymentOf(world, rolloutId, odd)).toBeUndefined()
  })

  test('a group that an incident has cut off gets nothing until it is over', async () => {
    const { groupId, ids } = await given(3)
    const opened = { reason: 'stolen', opened_by: 'key:test', opened_at: world.clock.now() }
    await world.db
      .insertInto('incident')
      .values({ id: crypto.randomUUID(), group_id: groupId, ...opened })
      .execute()
    expect(await meetDevices(world.ctx, ids)).toEqual([])
    await world.db
      .updateTable('incident')
      .set({ closed_at: world.clock.now(), closed_by: 'key:test' })
      .where('group_id', '=', groupId)
      .execute()
    expect(await meetDevices(world.ctx, ids)).toHaveLength(3)
  })

  test('a release that a device rolled back from is not offered to it again', async () => {
    const { ids, groupId, release, rolloutId } = await given(2)
    await meetDevices(world.ctx, ids)
    const [first = '', second = ''] = ids
    await report(world, first, await deploymentIdOf(world, rolloutId, first), 'rolled_back')
    await act(world, rolloutId, 'cancel')
    const again = await givenRollout(world, groupId, release.id)
    await act(world, again, 'start')
    expect(await meetDevices(world.ctx, ids)).toEqual([second])
  })

  test('a newer release takes the place of one that was not started, never of one that was', async () => {
    const { ids, groupId, rolloutId } = await given(3)
    await meetDevices(world.ctx, ids)
    const [queued = '', optedOut = '', started = ''] = ids
    await report(world, optedOut, await deploymentIdOf(world, rolloutId, optedOut), 'opted_out')
    await report(world, started, await deploymentIdOf(world, rolloutId, started), 'downloading')
    const newer = await givenRelease(world, { build: nextBuild++ })
    const next = await givenRollout(world, groupId, newer.id)
    await act(world, next, 'start')
    expect((await meetDevices(world.ctx, ids)).toSorted()).toEqual([queued, optedOut].toSorted())
    expect((await deploymentOf(world, rolloutId, queued))?.state).toBe('superseded')
    expect((await deploymentOf(world, rolloutId, started))?.state).toBe('downloading')
    await report(world, started, await deploymentIdOf(world, rolloutId, started), 'failed_final')
    // The end of the one was the time for the other.
    expect((await deploymentOf(world, next, started))?.state).toBe('queued')
  })

  test('security comes before features, then the older rollout', async () => {
    const { ids, groupId } = await given(1, undefined, { class: 'feature' })
    const fix = await givenRelease(world, { build: nextBuild++ })
    const second = await givenRollout(world, groupId, fix.id)
    await act(world, second, 'start')
    expect(await meetDevices(world.ctx, ids)).toEqual(ids)
    expect(await deploymentOf(world, second, ids[0] ?? '')).toBeDefined()
  })
})

describe('pause, resume and cancel', () => {
  test('a paused rollout admits nobody and lets the started go on; resumed, it admits the others', async () => {
    const { ids, rolloutId, release } = await given(4)
    const [a = '', b = ''] = ids
    await meetDevices(world.ctx, [a])
    await act(world, rolloutId, 'pause')
    expect(await meetDevices(world.ctx, [b])).toEqual([])
    await update(world, a, await deploymentIdOf(world, rolloutId, a), release)
    expect((await deploymentOf(world, rolloutId, a))?.state).toBe('succeeded')
    await act(world, rolloutId, 'resume')
    expect(await meetDevices(world.ctx, [a, b])).toEqual([b])
  })

  test('a pause and admissions at the same moment: what was admitted was admitted before', async () => {
    const { ids, rolloutId } = await given(200)
    const meeting = Promise.all(ids.map((id) => meetDevices(world.ctx, [id])))
    await act(world, rolloutId, 'pause')
    const before = (await progressOf(world.db, { id: rolloutId })).counts
    // Those that were in the middle of it when the pause was committed.
    await meeting
    expect(await meetDevices(world.ctx, ids)).toEqual([])
    expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual(before)
  })

  test('cancel takes back what has not begun to be written, and leaves the rest', async () => {
    const { ids, rolloutId } = await given(700)
    await meetDevices(world.ctx, ids)
    const [installing = '', downloading = ''] = ids
    await report(
      world,
      installing,
      await deploymentIdOf(world, rolloutId, installing),
      'installing',
    )
    await report(
      world,
      downloading,
      await deploymentIdOf(world, rolloutId, downloading),
      'downloading',
    )
    world.woken.length = 0
    await act(world, rolloutId, 'cancel')
    while (await endCancelled(world.ctx));
    expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual({
      installing: 1,
      cancelled: 699,
    })
    expect(new Set(world.woken).size).toBe(699)
    expect(world.woken).not.toContain(installing)
    expect(await meetDevices(world.ctx, ids)).toEqual([])
    expect(await endCancelled(world.ctx)).toBe(false)
    // Its next try would be a new beginning.
    await report(world, installing, await deploymentIdOf(world, rolloutId, installing), 'failed')
    await endCancelled(world.ctx)
    expect((await deploymentOf(world, rolloutId, installing))?.state).toBe('cancelled')
  })
})

describe('phases', () => {
  test('open one after the other, by what the executed devices showed', async () => {
    const { ids, rolloutId, release } = await given(60, [
      { percent: 20, minExecuted: 2 },
      { percent: 60, hold: true },
      { percent: 100 },
    ])
    const first = await meetDevices(world.ctx, ids)
    await drive()
    expect(await getRollout(world.db, rolloutId)).toMatchObject({ phase_no: 1, state: 'running' })
    for (const id of first)
      await update(world, id, await deploymentIdOf(world, rolloutId, id), release)
    await drive()
    expect((await getRollout(world.db, rolloutId)).phase_no).toBe(2)
    const second = await meetDevices(world.ctx, ids)
    expect(second.some((id) => first.includes(id))).toBe(false)
    for (const id of second)
      await update(world, id, await deploymentIdOf(world, rolloutId, id), release)
    await drive()
    // A person has to say so.
    expect((await getRollout(world.db, rolloutId)).phase_no).toBe(2)
    await expect(act(world, rolloutId, 'advance', { phase: 1 })).rejects.toMatchObject({
      code: 'conflict',
    })
    await act(world, rolloutId, 'advance', { phase: 2 })
    await expect(act(world, rolloutId, 'advance', { phase: 2 })).rejects.toMatchObject({
      code: 'conflict',
    })
    await expect(act(world, rolloutId, 'advance')).rejects.toMatchObject({
      code: 'illegal-transition',
    })
    const third = await meetDevices(world.ctx, ids)
    expect([...first, ...second, ...third].toSorted()).toEqual(ids.toSorted())
    for (const id of third)
      await update(world, id, await deploymentIdOf(world, rolloutId, id), release)
    await drive()
    expect(await getRollout(world.db, rolloutId)).toMatchObject({
      state: 'completed',
      ended_at: world.clock.now(),
    })
    expect(await brokenInvariants(world)).toEqual([])
  })

  test('a device that was away is served when it comes back, into its own phase', async () => {
    const { ids, rolloutId, release } = await given(20, [{ percent: 50 }, { percent: 100 }])
    const here = ids.slice(0, 10)
    const away = ids.slice(10)
    const first = await meetDevices(world.ctx, here)
    for (const id of first)
      await update(world, id, await deploymentIdOf(world, rolloutId, id), release)
    if (first.length === 0) await act(world, rolloutId, 'advance')
    else await drive()
    for (const id of await meetDevices(world.ctx, here)) {
      await update(world, id, await deploymentIdOf(world, rolloutId, id), release)
    }
    await drive()
    expect(await stateOf(rolloutId)).toBe('running')
    for (const id of away) {
      await hello(world, id)
      const row = await deploymentOf(world, rolloutId, id)
      expect(row?.state).toBe('queued')
      await update(world, id, row?.id ?? '', release)
    }
    await drive()
    expect(await stateOf(rolloutId)).toBe('completed')
    const { phases } = await progressOf(world.db, { id: rolloutId })
    expect(phases.map((phase) => phase.counts.succeeded ?? 0).reduce((a, b) => a + b)).toBe(20)
  })

  test('an owner who opted out, a disabled and a revoked device do not keep it running', async () => {
    const { ids, groupId, rolloutId, release } = await given(2)
    await givenDevices(world, groupId, 1, { state: 'disabled' })
    await givenDevices(world, groupId, 1, { state: 'revoked' })
    const [a = '', b = ''] = ids
    await meetDevices(world.ctx, ids)
    await report(world, a, await deploymentIdOf(world, rolloutId, a), 'opted_out')
    await drive()
    expect(await stateOf(rolloutId)).toBe('running')
    await update(world, b, await deploymentIdOf(world, rolloutId, b), release)
    await drive()
    expect(await stateOf(rolloutId)).toBe('completed')
    // The offer stays: the owner may still say yes.
    await update(world, a, await deploymentIdOf(world, rolloutId, a), release)
    expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual({ succeeded: 2 })
  })

  test('the worker meets the connected when a share opens, and nobody else', async () => {
    const { ids, rolloutId } = await given(30, [{ percent: 40 }, { percent: 100 }])
    const worker = meetingWorker(world.ctx)
    const run = async () => {
      while (await worker.step(new AbortController().signal));
    }
    for (const id of ids.slice(0, 20)) world.connected.add(id)
    world.woken.length = 0
    await run()
    const first = new Set(world.woken)
    expect(await world.counter.during(run)).toBe(1)
    await act(world, rolloutId, 'advance')
    await run()
    expect(new Set(world.woken)).toEqual(new Set(ids.slice(0, 20)))
    expect(first.size).toBeLessThan(20)
    // A message that was lost: whoever said nothing is woken again at the next sweep.
    world.woken.length = 0
    world.clock.advance({ seconds: 61 })
    await run()
    expect(new Set(world.woken)).toEqual(new Set(ids.slice(0, 20)))
    world.connected.clear()
  })
})

describe('stopping by itself', () => {
  test('when the first three fail, at once, and nothing more is admitted', async () => {
    const { ids, rolloutId } = await given(10)
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
    const { ids, rolloutId } = await given(10)
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
    const { ids, rolloutId, release } = await given(25)
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
})

test('the check constraint and the state table agree', async () => {
  const { rows } = await sql<{ def: string }>`
    select pg_get_constraintdef(oid) as def from pg_constraint
    where conrelid = 'rollout'::regclass and conname = 'rollout_state_check'`.execute(world.db)
  const inDatabase = [...(rows[0]?.def.matchAll(/'(\w+)'::text/g) ?? [])].map((match) => match[1])
  expect(new Set(inDatabase)).toEqual(new Set(rolloutStates))
})
