import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endGone, endOverdue } from '../../server/deployments/end.ts'
import { subscribeWake, wakeDevices } from '../../server/deployments/wake.ts'
import { endClosed } from '../../server/deployments/window-close.ts'
import { endedStates } from '../../server/protocol/deployment.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { createTestDatabase } from '../support/database.ts'
import { eventsOf, givenMet, givenOne, newBuild } from '../support/rollout-given.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { deploymentOf, report, update } from '../support/rollout-messages.ts'
import {
  act,
  givenRelease,
  givenRollout,
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

test('silence past the limit is lost, and a word brings it back', async () => {
  const { device, id, row, release } = await givenOne(world)
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

test('one that was lost does not come back beside another that is open', async () => {
  const { device, id, row, groupId } = await givenOne(world)
  await report(world, device, id, 'downloading')
  world.clock.advance({ seconds: 25 * 3_600 })
  await endOverdue(world.ctx)
  const newer = await givenRelease(world, { build: newBuild() })
  const next = await givenRollout(world, groupId, newer.id)
  await act(world, next, 'start')
  world.clock.advance({ seconds: 86_400 })
  expect(await meetDevices(world.ctx, [device])).toEqual([device])
  await report(world, device, id, 'verified')
  expect((await row()).state).toBe('lost')
  expect(await eventsOf(world, device)).toEqual(['illegal-report warning'])
  // How it ended is still worth knowing.
  await report(world, device, id, 'rolled_back', { code: 'health' })
  expect(await row()).toMatchObject({ state: 'rolled_back', code: 'health' })
  expect((await deploymentOf(world, next, device))?.state).toBe('queued')
})

test('the owner has no limit', async () => {
  const { device, id, row } = await givenOne(world)
  await report(world, device, id, 'offered')
  world.clock.advance({ seconds: 90 * 86_400 })
  while (await endOverdue(world.ctx));
  expect((await row()).state).toBe('offered')
})

test('the time of a device that was cut off does not run, and starts anew when it is back', async () => {
  const { device, id, row } = await givenOne(world)
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
  const { device, id, row, groupId } = await givenOne(world)
  await report(world, device, id, 'testing')
  const at = world.clock.now()
  await world.db
    .insertInto('incident')
    .values({
      id: crypto.randomUUID(),
      group_id: groupId,
      reason: 'r',
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
  const { ids, deployments, rolloutId } = await givenMet(world, 3)
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

test('where no window has a hard end, no deployment is read for one', async () => {
  await givenMet(world, 2)
  expect(await world.counter.during(() => endClosed(world.ctx))).toBe(1)
})

test('after all that, counts, histories and open rows are right', async () => {
  expect(await brokenInvariants(world)).toEqual([])
})
