import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endGone } from '../../server/deployments/end.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { progressOf } from '../../server/rollouts/progress.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { meetingWorker } from '../../server/rollouts/workers.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenStarted, newBuild } from '../support/rollout-given.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { deploymentIdOf, deploymentOf, hello, report, update } from '../support/rollout-messages.ts'
import {
  act,
  givenDevices,
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

const drive = () => driveRollouts(world.ctx, createLookLimit())
const stateOf = async (id: string) => (await getRollout(world.db, id)).state

test('open one after the other, by what the executed devices showed', async () => {
  const { ids, rolloutId, release } = await givenStarted(world, 60, [
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

test('a device admitted between the count and the look for others keeps the rollout running', async () => {
  const { ids, rolloutId, release } = await givenStarted(world, 20, [
    { percent: 50, hold: true },
    { percent: 100 },
  ])
  const first = await meetDevices(world.ctx, ids)
  for (const id of first)
    await update(world, id, await deploymentIdOf(world, rolloutId, id), release)
  await act(world, rolloutId, 'advance', { phase: 1 })
  let rest: string[] = []
  // The count found everybody at an end; then the rest is met, and the look finds nobody left.
  await driveRollouts(world.ctx, async (id, look) => {
    if (id !== rolloutId) return true
    rest = await meetDevices(world.ctx, ids)
    return await look()
  })
  expect([...first, ...rest].toSorted()).toEqual(ids.toSorted())
  expect(rest.length).toBeGreaterThan(0)
  expect(await stateOf(rolloutId)).toBe('running')
  for (const id of rest)
    await update(world, id, await deploymentIdOf(world, rolloutId, id), release)
  await drive()
  expect(await stateOf(rolloutId)).toBe('completed')
  expect(await brokenInvariants(world)).toEqual([])
})

test('a device that was away is served when it comes back, into its own phase', async () => {
  const { ids, rolloutId, release } = await givenStarted(world, 20, [
    { percent: 50 },
    { percent: 100 },
  ])
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
  const { ids, groupId, rolloutId, release } = await givenStarted(world, 2)
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

test('a rollout that met nobody has not completed, and waits for who is still to enroll', async () => {
  const { rolloutId, groupId, release } = await givenStarted(world, 0)
  await drive()
  expect(await stateOf(rolloutId)).toBe('running')
  await givenDevices(world, groupId, 1, { state: 'registered' })
  const [late = ''] = await givenDevices(world, groupId, 1)
  await meetDevices(world.ctx, [late])
  await update(world, late, await deploymentIdOf(world, rolloutId, late), release)
  await drive()
  expect(await stateOf(rolloutId)).toBe('running')
})

test('a rollout of which everything was superseded or expired has not completed; one verdict is enough', async () => {
  const { ids, groupId, rolloutId, release } = await givenStarted(world, 2)
  const [a = '', b = ''] = ids
  await meetDevices(world.ctx, ids)
  await world.db.updateTable('device').set({ state: 'revoked' }).where('id', '=', a).execute()
  await endGone(world.ctx, [a])
  const newer = await givenRelease(world, { build: newBuild() })
  const next = await givenRollout(world, groupId, newer.id)
  await act(world, next, 'start')
  await meetDevices(world.ctx, [b])
  expect((await progressOf(world.db, { id: rolloutId })).counts).toEqual({
    expired: 1,
    superseded: 1,
  })
  await drive()
  expect(await stateOf(rolloutId)).toBe('running')
  // A member that is still to come finds it running; the newer one is taken back, or it would be the better choice.
  await act(world, next, 'cancel')
  const [late = ''] = await givenDevices(world, groupId, 1)
  await meetDevices(world.ctx, [late])
  await update(world, late, await deploymentIdOf(world, rolloutId, late), release)
  await drive()
  expect(await stateOf(rolloutId)).toBe('completed')
})

test('a rollout whose owners all said no has completed', async () => {
  const { ids, rolloutId } = await givenStarted(world, 1)
  await meetDevices(world.ctx, ids)
  for (const id of ids)
    await report(world, id, await deploymentIdOf(world, rolloutId, id), 'opted_out')
  await drive()
  expect(await stateOf(rolloutId)).toBe('completed')
})

test('the worker meets the connected when a share opens, and nobody else', async () => {
  const { ids, rolloutId } = await givenStarted(world, 30, [{ percent: 40 }, { percent: 100 }])
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
