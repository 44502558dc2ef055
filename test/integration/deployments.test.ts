import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endGone, endOverdue } from '../../server/deployments/end.ts'
import { subscribeWake, wakeDevices } from '../../server/deployments/wake.ts'
import { endedStates } from '../../server/protocol/deployment.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { createEmbeddedDatabase, createTestDatabase } from '../support/database.ts'
import {
  act,
  brokenInvariants,
  choose,
  deploymentIdOf,
  deploymentOf,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
  hello,
  helloOf,
  installedBuild,
  receive,
  report,
  rolloutWorld,
  type RolloutWorld,
  update,
} from '../support/rollout-world.ts'

describe.each([
  ['PostgreSQL', createTestDatabase],
  ['PGlite', createEmbeddedDatabase],
])('%s', (_name, create) => {
  let handle: DatabaseHandle
  let world: RolloutWorld
  beforeAll(async () => {
    handle = await create()
    world = rolloutWorld(handle)
  })
  afterAll(() => handle[Symbol.asyncDispose]())

  let nextBuild = 100

  async function given(devices: number, more: Parameters<typeof givenRelease>[1] = {}) {
    const groupId = await givenGroup(world)
    const ids = await givenDevices(world, groupId, devices)
    const release = await givenRelease(world, { build: nextBuild++, ...more })
    const rolloutId = await givenRollout(world, groupId, release.id)
    await act(world, rolloutId, 'start')
    await meetDevices(world.ctx, ids)
    const deployments: string[] = []
    for (const id of ids) deployments.push(await deploymentIdOf(world, rolloutId, id))
    return { groupId, ids, release, rolloutId, deployments }
  }

  async function one(more: Parameters<typeof givenRelease>[1] = {}) {
    const { ids, deployments, ...rest } = await given(1, more)
    const [device = ''] = ids
    const [id = ''] = deployments
    const row = async () => {
      const found = await deploymentOf(world, rest.rolloutId, device)
      if (!found) throw new Error('gone')
      return found
    }
    return { ...rest, device, id, row }
  }

  const eventsOf = async (device: string) =>
    (
      await world.db
        .selectFrom('security_event')
        .select(['kind', 'severity'])
        .where('device_id', '=', device)
        .orderBy('id')
        .execute()
    ).map(({ kind, severity }) => `${kind} ${severity}`)

  const ledgerOf = async (device: string) =>
    (
      await world.db
        .selectFrom('choice_event')
        .select(['choice', 'outcome', 'deployment_id'])
        .where('device_id', '=', device)
        .orderBy('seq')
        .execute()
    ).map(
      ({ choice, outcome, deployment_id }) =>
        `${choice} ${outcome}${deployment_id ? '' : ' (standing)'}`,
    )

  const historyOf = async (id: string) =>
    (
      await world.db
        .selectFrom('deployment_event')
        .select(['to_state', 'actor'])
        .where('deployment_id', '=', id)
        .orderBy('seq')
        .execute()
    ).map(({ to_state, actor }) => `${to_state} ${actor}`)

  const inHours = (n: number) => new Date(world.clock.now().getTime() + n * 3_600_000).toISOString()

  describe('reports', () => {
    test('the whole way, with what was skipped filled in', async () => {
      const { device, id, release, row } = await one()
      await report(world, device, id, 'offered')
      await report(world, device, id, 'accepted')
      await report(world, device, id, 'downloading', { progress: 30 })
      await report(world, device, id, 'downloading', { progress: 90 })
      expect(await row()).toMatchObject({ state: 'downloading', progress: 90 })
      await update(world, device, id, release)
      expect(await row()).toMatchObject({ state: 'succeeded', progress: null, code: null })
      expect(await historyOf(id)).toEqual([
        'queued engine',
        ...['offered', 'accepted', 'downloading', 'verified', 'installing'].map(
          (state) => `${state} device`,
        ),
        ...['installed', 'rebooting', 'testing', 'succeeded'].map((state) => `${state} device`),
      ])
      expect(await eventsOf(device)).toEqual([])
    })

    test('a device in testing gets its nonce, and again when it says hello', async () => {
      const { device, id, row } = await one()
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
      const { device, id, release, row } = await one()
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
      expect(await eventsOf(device)).toEqual(['false-success warning', 'false-success warning'])
      await report(world, device, id, 'succeeded', { commitNonce, sha256 })
      expect((await row()).state).toBe('succeeded')
    })

    test("about another device's deployment, or none at all, change nothing and are remembered", async () => {
      const { ids, deployments, rolloutId } = await given(2)
      const [a = '', b = ''] = ids
      const [ofA = ''] = deployments
      await report(world, b, ofA, 'failed_final')
      await report(world, b, crypto.randomUUID(), 'failed_final')
      expect((await deploymentOf(world, rolloutId, a))?.state).toBe('queued')
      expect(await eventsOf(b)).toEqual(['illegal-report warning', 'illegal-report warning'])
      await report(world, a, ofA, 'failed_final')
      expect((await deploymentOf(world, rolloutId, a))?.state).toBe('failed_final')
      expect(await eventsOf(a)).toEqual([])
    })

    test('twice, late and backward', async () => {
      const { device, id, row } = await one()
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
      expect(await eventsOf(device)).toEqual([])
      await report(world, device, id, 'cancelled')
      expect(await eventsOf(device)).toEqual(['illegal-report warning'])
      expect(await row()).toMatchObject({ state: 'downloading' })
    })

    test('the fifth failure is final', async () => {
      const { device, id, row } = await one()
      for (let n = 0; n < 5; n++) {
        await report(world, device, id, 'downloading')
        await report(world, device, id, 'failed', { code: 'net' })
      }
      expect(await row()).toMatchObject({ state: 'failed_final', attempts: 5 })
    })

    test('texts that a database cannot hold, and dates that are none', async () => {
      const { device, id, row } = await one()
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
      const { ids, deployments } = await given(60)
      const said = (from: number, to: number, state: string) =>
        ids.slice(from, to).map((deviceId, n) => ({
          deviceId,
          body: { deploymentId: deployments[from + n], state, at: '2026-11-26T12:00:00Z' },
        }))
      const small = await world.counter.during(() =>
        receive(world, 'report', said(0, 2, 'verified')),
      )
      const large = await world.counter.during(() =>
        receive(world, 'report', said(2, 60, 'verified')),
      )
      expect(large).toBe(small)
      expect(large).toBeLessThanOrEqual(5)
      const hellos = (from: number, to: number) =>
        ids.slice(from, to).map((deviceId) => ({ deviceId, body: helloOf({ optOut: true }) }))
      const few = await world.counter.during(() => receive(world, 'hello', hellos(0, 2)))
      const many = await world.counter.during(() => receive(world, 'hello', hellos(2, 60)))
      expect(many).toBe(few)
      expect(many).toBeLessThanOrEqual(6)
    })
  })

  describe('choices', () => {
    test('accept, and a feature that waits for it', async () => {
      const { device, id, row } = await one({ class: 'feature' })
      await report(world, device, id, 'offered')
      await choose(world, device, { choice: 'accept' })
      await choose(world, device, { choice: 'accept', deploymentId: id })
      expect((await row()).state).toBe('accepted')
      expect(await ledgerOf(device)).toEqual(['accept applied'])
      expect(await historyOf(id)).toEqual(['queued engine', 'offered device', 'accepted owner'])
    })

    test('postpone within the limits; beyond them it is refused, in the ledger, and the device asks again', async () => {
      const { device, id, row } = await one()
      await report(world, device, id, 'offered')
      world.woken.length = 0
      await choose(world, device, { choice: 'postpone', deploymentId: id, until: inHours(72) })
      await choose(world, device, { choice: 'postpone', deploymentId: id, until: inHours(72) })
      expect(await row()).toMatchObject({ state: 'postponed', postpone_count: 1 })
      expect(world.woken).toEqual([])
      await choose(world, device, { choice: 'postpone', deploymentId: id, until: inHours(80) })
      expect(await row()).toMatchObject({ state: 'postponed', postpone_count: 1 })
      expect(world.woken).toEqual([device])
      expect(await ledgerOf(device)).toEqual([
        'postpone applied',
        'postpone refused: at most 72 hours at a time',
      ])
      await report(world, device, id, 'offered')
      expect(await row()).toMatchObject({
        state: 'offered',
        postponed_until: null,
        postpone_count: 1,
      })
    })

    test('opt out for good, and in again', async () => {
      const { device, id, row } = await one()
      const optOut = async () =>
        (
          await world.db
            .selectFrom('device')
            .select('update_opt_out')
            .where('id', '=', device)
            .executeTakeFirstOrThrow()
        ).update_opt_out
      await choose(world, device, { choice: 'optOut' })
      expect([await optOut(), (await row()).state]).toEqual([true, 'opted_out'])
      await choose(world, device, { choice: 'optOut' })
      await hello(world, device, { optOut: true })
      await choose(world, device, { choice: 'optIn' })
      expect([await optOut(), (await row()).state]).toEqual([false, 'offered'])
      expect(await ledgerOf(device)).toEqual(['optOut applied', 'optIn applied'])
      expect(await historyOf(id)).toEqual([
        'queued engine',
        'offered device',
        'opted_out owner',
        'offered owner',
      ])
    })

    test('opt out of one release: the standing choice stays, and the device is asked for it', async () => {
      const { device, id, row } = await one()
      world.woken.length = 0
      await choose(world, device, { choice: 'optOut', deploymentId: id })
      expect((await row()).state).toBe('opted_out')
      expect(world.woken).toEqual([device])
      await hello(world, device, { optOut: false })
      expect(await ledgerOf(device)).toEqual(['optOut applied'])
    })

    test('what the device holds wins over what the server remembers', async () => {
      const { device } = await one()
      await hello(world, device, { optOut: true })
      await hello(world, device, { optOut: true })
      await hello(world, device, { optOut: false })
      expect(await ledgerOf(device)).toEqual([
        'optOut applied (standing)',
        'optIn applied (standing)',
      ])
    })

    test("about another device's deployment changes nothing", async () => {
      const { ids, deployments, rolloutId } = await given(2)
      const [a = '', b = ''] = ids
      await choose(world, b, { choice: 'optOut', deploymentId: deployments[0] ?? '' })
      expect((await deploymentOf(world, rolloutId, a))?.state).toBe('queued')
      expect(await eventsOf(b)).toEqual(['illegal-choice warning'])
      expect(await ledgerOf(b)).toEqual([])
    })

    test('nothing is offered: the refusal is remembered', async () => {
      const { device, id } = await one()
      await report(world, device, id, 'failed_final')
      await choose(world, device, { choice: 'accept' })
      expect(await ledgerOf(device)).toEqual(['accept refused: no update is offered (standing)'])
    })
  })

  describe('time', () => {
    test('silence past the limit is lost, and a word brings it back', async () => {
      const { device, id, row, release } = await one()
      await report(world, device, id, 'downloading')
      world.clock.advance({ seconds: 23 * 3_600 })
      await endOverdue(world.ctx)
      expect((await row()).state).toBe('downloading')
      world.clock.advance({ seconds: 2 * 3_600 })
      await endOverdue(world.ctx)
      expect(await row()).toMatchObject({ state: 'lost', code: 'dark' })
      await report(world, device, id, 'verified')
      expect(await row()).toMatchObject({ state: 'verified', code: null })
      await update(world, device, id, release)
      expect((await row()).state).toBe('succeeded')
    })

    test('the owner has no limit', async () => {
      const { device, id, row } = await one()
      await report(world, device, id, 'offered')
      world.clock.advance({ seconds: 90 * 86_400 })
      while (await endOverdue(world.ctx));
      expect((await row()).state).toBe('offered')
    })

    test('the time of a device that was cut off does not run, and starts anew when it is back', async () => {
      const { device, id, row } = await one()
      await report(world, device, id, 'testing')
      const setState = (state: 'disabled' | 'active') =>
        world.db
          .updateTable('device')
          .set({ state, changed_at: world.clock.now() })
          .where('id', '=', device)
          .execute()
      await setState('disabled')
      world.clock.advance({ seconds: 3_600 })
      await endOverdue(world.ctx)
      expect((await row()).state).toBe('testing')
      await setState('active')
      world.clock.advance({ seconds: 1_700 })
      await endOverdue(world.ctx)
      expect((await row()).state).toBe('testing')
      world.clock.advance({ seconds: 200 })
      await endOverdue(world.ctx)
      expect((await row()).state).toBe('lost')
    })

    test('nor does that of a group with an incident', async () => {
      const { device, id, row, groupId } = await one()
      await report(world, device, id, 'testing')
      const at = world.clock.now()
      await world.db
        .insertInto('incident')
        .values({
          ...{ id: crypto.randomUUID(), group_id: groupId, reason: 'r' },
          opened_by: 'x',
          opened_at: at,
        })
        .execute()
      world.clock.advance({ seconds: 3_600 })
      await endOverdue(world.ctx)
      expect((await row()).state).toBe('testing')
      await world.db
        .updateTable('incident')
        .set({ closed_at: world.clock.now(), closed_by: 'x' })
        .where('group_id', '=', groupId)
        .execute()
      await endOverdue(world.ctx)
      expect((await row()).state).toBe('testing')
      world.clock.advance({ seconds: 1_900 })
      await endOverdue(world.ctx)
      expect((await row()).state).toBe('lost')
    })

    test('a revoked device: what was not begun expires, the rest is lost', async () => {
      const { ids, deployments, rolloutId } = await given(3)
      const [fresh = '', busy = '', other = ''] = ids
      await report(world, busy, deployments[1] ?? '', 'installing')
      await world.db
        .updateTable('device')
        .set({ state: 'revoked' })
        .where('id', 'in', [fresh, busy])
        .execute()
      await endGone(world.ctx, [other])
      expect((await deploymentOf(world, rolloutId, fresh))?.state).toBe('queued')
      await endGone(world.ctx, 'all')
      expect((await deploymentOf(world, rolloutId, fresh))?.state).toBe('expired')
      expect((await deploymentOf(world, rolloutId, busy))?.state).toBe('lost')
      expect((await deploymentOf(world, rolloutId, other))?.state).toBe('queued')
    })
  })

  test('a wake that arrives twice is one message, to connected devices only', async () => {
    subscribeWake(world.ctx)
    const [here, there] = [crypto.randomUUID(), crypto.randomUUID()]
    world.connected.add(here)
    world.sent.length = 0
    await wakeDevices(world.ctx, [here, there])
    await wakeDevices(world.ctx, [here, there])
    await expect
      .poll(() => world.sent)
      .toEqual([{ deviceId: here, leaf: 'command', body: { command: 'refresh' } }])
    world.connected.clear()
  })

  test('the index of open deployments and the protocol name the same ends', async () => {
    const { rows } = await sql<{ def: string }>`
      select indexdef as def from pg_indexes where indexname = 'deployment_open'`.execute(world.db)
    const named = [...(rows[0]?.def.matchAll(/'(\w+)'::text/g) ?? [])].map((match) => match[1])
    expect(new Set(named)).toEqual(new Set(endedStates))
  })

  test('after all that, counts, histories and open rows are right', async () => {
    expect(await brokenInvariants(world)).toEqual([])
  })
})
