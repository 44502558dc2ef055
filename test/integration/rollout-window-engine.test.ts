import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endClosed } from '../../server/deployments/window-close.ts'
import { newId } from '../../server/ids.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { windowFor } from '../../server/rollouts/window-for.ts'
import { windowTurns } from '../../server/rollouts/window-turns.ts'
import { WindowRule } from '../../server/rollouts/window-wire.ts'
import { holdEndless, measureReleases } from '../../server/rollouts/window-workers.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenMet, givenStarted, historyOf } from '../support/rollout-given.ts'
import { deploymentOf, report } from '../support/rollout-messages.ts'
import { act, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())
beforeEach(async () => {
  await world.db.deleteFrom('maintenance_window').execute()
  await world.db.deleteFrom('blackout_calendar').execute()
})

const zone = 'Europe/Berlin'
const nightly = WindowRule.parse({ cron: '0 1 * * *', duration: 'PT4H', zone })
const minute = 60_000

function setClock(at: Date | string | number) {
  world.clock.advance({ seconds: (new Date(at).getTime() - world.clock.now().getTime()) / 1_000 })
}

async function setOn(
  rolloutId: string,
  set: { install_window?: object; ignore_windows?: object; needed_ms?: number },
) {
  const { install_window: rule, ignore_windows: ignore, ...rest } = set
  await world.db
    .updateTable('rollout')
    .set({
      ...rest,
      ...(rule && { install_window: JSON.stringify(rule) }),
      ...(ignore && { ignore_windows: JSON.stringify(ignore) }),
    })
    .where('id', '=', rolloutId)
    .execute()
}

async function giveWindow(of: { group_id: string } | { device_id: string }, rule: object) {
  const by = {
    created_by: 'key:test',
    created_at: world.clock.now(),
    changed_at: world.clock.now(),
  }
  const row = { id: newId(world.clock.now()), rule: JSON.stringify(rule), ...by, ...of }
  await world.db.insertInto('maintenance_window').values(row).execute()
}

async function giveCalendar(dates: string[]) {
  const by = {
    created_by: 'key:test',
    created_at: world.clock.now(),
    changed_at: world.clock.now(),
  }
  const id = newId(world.clock.now())
  const row = { id, name: id, zone, dates: JSON.stringify(dates), ...by }
  await world.db.insertInto('blackout_calendar').values(row).execute()
}

describe('who is admitted', () => {
  test('on the night on which the clock jumps over the start: from the first minute after it, each at its place', async () => {
    setClock('2027-03-27T20:00:00Z')
    const { ids, rolloutId } = await givenStarted(world, 2)
    await setOn(rolloutId, { install_window: { ...nightly, cron: '30 2 * * *' } })
    expect(await meetDevices(world.ctx, ids)).toEqual([])
    const places = new Map<string, Date>()
    for (const id of ids) {
      const { next } = await windowFor(world.ctx, id, rolloutId)
      places.set(id, next ?? new Date(0))
      expect(next?.getTime()).toBeGreaterThanOrEqual(Date.parse('2027-03-28T01:00:00Z'))
      expect(next?.getTime()).toBeLessThan(Date.parse('2027-03-28T02:00:00Z'))
    }
    for (const [id, place] of [...places].toSorted(([, a], [, b]) => a.getTime() - b.getTime())) {
      setClock(place.getTime() - 1)
      expect(await meetDevices(world.ctx, [id])).toEqual([])
      setClock(place)
      expect(await meetDevices(world.ctx, [id])).toEqual([id])
    }
    setClock('2027-03-28T05:00:00Z')
    expect(await meetDevices(world.ctx, ids)).toEqual([])
  })

  test('not when too little time is left, but the next night', async () => {
    setClock('2027-02-01T02:30:00Z')
    const { ids, rolloutId } = await givenStarted(world, 1)
    await setOn(rolloutId, { install_window: nightly, needed_ms: 91 * minute })
    expect(await meetDevices(world.ctx, ids)).toEqual([])
    await setOn(rolloutId, { needed_ms: 90 * minute })
    expect(await meetDevices(world.ctx, ids)).toEqual(ids)
  })

  test('the window of the device and that of a group both count, and a security release passes them', async () => {
    setClock('2027-02-02T12:00:00Z')
    const { groupId, ids, rolloutId } = await givenStarted(world, 2)
    const [first = '', second = ''] = ids
    await giveWindow({ device_id: first }, nightly)
    expect(await meetDevices(world.ctx, ids)).toEqual([second])
    await giveWindow({ group_id: groupId }, { ...nightly, cron: '0 12 * * *' })
    setClock('2027-02-03T02:00:00Z')
    expect(await meetDevices(world.ctx, ids)).toEqual([])
    await setOn(rolloutId, { ignore_windows: { reason: 'CVE-2027-1', blackouts: false } })
    expect(await meetDevices(world.ctx, ids)).toEqual([first])
  })

  test('nobody on a blackout day; who passes windows passes it only when that is said too', async () => {
    setClock('2026-12-24T12:00:00Z')
    const { ids, rolloutId } = await givenStarted(world, 1)
    await giveCalendar(['2026-12-24/2026-12-26'])
    expect(await meetDevices(world.ctx, ids)).toEqual([])
    await setOn(rolloutId, { ignore_windows: { reason: 'CVE-2027-1', blackouts: false } })
    expect(await meetDevices(world.ctx, ids)).toEqual([])
    await setOn(rolloutId, { ignore_windows: { reason: 'CVE-2027-1', blackouts: true } })
    expect(await meetDevices(world.ctx, ids)).toEqual(ids)
    const twin = await givenStarted(world, 1)
    setClock('2026-12-26T22:59:59Z')
    expect(await meetDevices(world.ctx, twin.ids)).toEqual([])
    setClock('2026-12-27T00:30:00Z')
    expect(await meetDevices(world.ctx, twin.ids)).toEqual(twin.ids)
  })
})

describe('closing', () => {
  test.each([true, false])(
    'with a hard end (%s) what is still downloading is taken back, once',
    async (hardClose) => {
      setClock('2027-02-04T01:30:00Z')
      const { groupId, ids, deployments, rolloutId } = await givenMet(world, 3)
      const states = ['downloading', 'verified', 'installing'] as const
      for (const [n, state] of states.entries()) {
        await report(world, ids[n] ?? '', deployments[n] ?? '', state)
      }
      if (hardClose) await setOn(rolloutId, { install_window: { ...nightly, hardClose } })
      else await giveWindow({ group_id: groupId }, nightly)
      await endClosed(world.ctx)
      setClock('2027-02-04T04:00:00Z')
      world.woken.length = 0
      await Promise.all([endClosed(world.ctx), endClosed(world.ctx)])
      await endClosed(world.ctx)
      const rows = await Promise.all(ids.map((id) => deploymentOf(world, rolloutId, id)))
      expect(rows.map((row) => row?.state)).toEqual([
        hardClose ? 'cancelled' : 'downloading',
        'verified',
        'installing',
      ])
      if (!hardClose) return
      expect(rows[0]?.code).toBe('window-closed')
      expect(world.woken).toEqual([ids[0]])
      const history = await historyOf(world, deployments[0] ?? '')
      expect(history.filter((step) => step.startsWith('cancelled'))).toEqual(['cancelled engine'])
    },
  )

  test('one of a group counts too; who passes windows passes its end', async () => {
    setClock('2027-02-05T01:30:00Z')
    const { groupId, ids, deployments, rolloutId } = await givenMet(world, 1)
    await report(world, ids[0] ?? '', deployments[0] ?? '', 'downloading')
    await giveWindow({ group_id: groupId }, { ...nightly, hardClose: true })
    setClock('2027-02-05T04:00:00Z')
    await setOn(rolloutId, { ignore_windows: { reason: 'CVE-2027-1', blackouts: false } })
    await endClosed(world.ctx)
    expect((await deploymentOf(world, rolloutId, ids[0] ?? ''))?.state).toBe('downloading')
    await world.db
      .updateTable('rollout')
      .set({ ignore_windows: null })
      .where('id', '=', rolloutId)
      .execute()
    await endClosed(world.ctx)
    expect((await deploymentOf(world, rolloutId, ids[0] ?? ''))?.state).toBe('cancelled')
  })
})

describe('a window that is over for good', () => {
  test.each([
    [{ until: '2027-02-06' }, null, 'Its window never opens again'],
    [{}, 241 * minute, 'Its window is shorter than the 241 minutes that the release takes'],
  ])('puts the rollout on hold, and says so: %j', async (more, needed, reason) => {
    setClock('2027-02-06T12:00:00Z')
    const { rolloutId } = await givenStarted(world, 1)
    await setOn(rolloutId, {
      install_window: { ...nightly, ...more },
      ...(needed && { needed_ms: needed }),
    })
    const twin = await givenStarted(world, 1)
    await setOn(twin.rolloutId, { install_window: nightly, needed_ms: 240 * minute })
    await Promise.all([holdEndless(world.ctx), holdEndless(world.ctx)])
    expect(await getRollout(world.db, rolloutId)).toMatchObject({ state: 'paused', reason })
    expect((await getRollout(world.db, twin.rolloutId)).state).toBe('running')
    const audits = await world.db
      .selectFrom('audit_event')
      .select(['actor', 'facts'])
      .where('subject', '=', rolloutId)
      .where('action', '=', 'rollout.pause')
      .execute()
    expect(audits).toMatchObject([{ actor: 'system', facts: { reason } }])
  })
})

test('how long a release takes is measured from devices that did not wait', async () => {
  setClock('2027-02-08T01:00:00Z')
  const { ids, deployments, rolloutId } = await givenMet(world, 21)
  const begun = world.clock.now()
  const events = deployments.flatMap((deployment_id, n) => {
    const event = (to_state: 'downloading' | 'waiting_window' | 'succeeded', minutes: number) => ({
      deployment_id,
      to_state,
      actor: 'device' as const,
      at: new Date(begun.getTime() + minutes * minute),
    })
    // One waited for its window.
    const waits = n === 20 ? [event('waiting_window', 10)] : []
    return [event('downloading', 0), ...waits, event('succeeded', n === 20 ? 900 : 10 + n)]
  })
  await world.db.insertInto('deployment_event').values(events).execute()
  const done = async (count: number) =>
    await world.db
      .updateTable('deployment')
      .set({ state: 'succeeded' })
      .where('rollout_id', '=', rolloutId)
      .where('device_id', 'in', ids.slice(21 - count))
      .execute()
  const neededMs = async () => (await getRollout(world.db, rolloutId)).needed_ms
  await done(20)
  await measureReleases(world.ctx)
  expect(await neededMs()).toBeNull()
  await setOn(rolloutId, { install_window: nightly })
  await measureReleases(world.ctx)
  expect(await neededMs()).toBeNull()
  await done(21)
  await measureReleases(world.ctx)
  // The nineteenth of twenty, which took 10 to 29 minutes.
  expect(await neededMs()).toBe(28 * minute)
  await act(world, rolloutId, 'cancel')
})

test('devices look again when a window turns over what they were told, and only then', async () => {
  setClock('2027-02-09T01:30:00Z')
  const { groupId, ids, release } = await givenMet(world, 2)
  const [device = '', other = ''] = ids
  const turns = async () => {
    const { turned, closed } = await windowTurns(world.ctx, ids)
    return { turned: turned.toSorted(), closed: [...closed].toSorted() }
  }
  const tell = async (sha256s: string[]) =>
    await world.db
      .updateTable('director_state')
      .set({ artifact_sha256s: sha256s })
      .where('device_id', '=', device)
      .execute()
  const files = {
    targets: '',
    snapshot: '',
    targets_version: 1,
    snapshot_version: 1,
    content_hash: '',
  }
  const at = world.clock.now()
  await world.db
    .insertInto('director_state')
    .values({
      device_id: device,
      artifact_sha256s: [release.sha256],
      expires_at: at,
      signed_at: at,
      ...files,
    })
    .execute()
  expect(await turns()).toEqual({ turned: [], closed: [] })
  await giveWindow({ group_id: groupId }, nightly)
  // Who was told nothing of an offer in an open window looks again.
  expect(await turns()).toEqual({ turned: [other], closed: [] })
  setClock('2027-02-09T04:00:00Z')
  expect(await turns()).toEqual({ turned: [device], closed: ids.toSorted() })
  await tell([])
  expect(await turns()).toEqual({ turned: [], closed: ids.toSorted() })
  setClock('2027-02-10T01:30:00Z')
  expect(await turns()).toEqual({ turned: ids.toSorted(), closed: [] })
  await tell(['00'.repeat(32)])
  expect(await turns()).toEqual({ turned: [other], closed: [] })
})
