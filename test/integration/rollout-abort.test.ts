import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endCancelled, endOverdue } from '../../server/deployments/end.ts'
import type { AbortRule } from '../../server/rollouts/abort-wire.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { choose, deploymentOf } from '../support/rollout-messages.ts'
import { givenRules, metIn, sayings } from '../support/rollout-rules.ts'
import { act, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

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

const rule = (more: Partial<AbortRule>): AbortRule => ({
  kinds: ['failed_final', 'rolled_back', 'lost'],
  minExecuted: 1,
  percent: 50,
  scope: 'rollout',
  action: 'pause',
  ...more,
})
const now = async (id: string) => await getRollout(world.db, id)
const audits = async (id: string) => {
  const rows = await world.db
    .selectFrom('audit_event')
    .select(['actor', 'action', 'facts'])
    .where('subject', '=', id)
    .orderBy('seq')
    .execute()
  return rows.map(({ actor, action, facts }) => ({ actor, action, facts }))
}

test('a rule that cancels ends it as failed within one report, and takes back what was not begun', async () => {
  const rules = [rule({ minExecuted: 2, action: 'cancel' })]
  const one = await givenRules(world, 6, { defaults: true, rules })
  const [first = '', second = '', begun = '', waits = ''] = one.ids
  await said.say(one.id, begun, 'installing')
  await said.fail(one, [first])
  expect((await now(one.id)).state).toBe('running')
  await said.fail(one, [second])
  expect(await now(one.id)).toMatchObject({
    state: 'failed',
    reason: '2 of 2 devices failed or rolled back or were lost: the limit is 50 %',
    ended_at: world.clock.now(),
  })
  expect((await audits(one.id)).at(-1)).toMatchObject({ actor: 'system', action: 'rollout.fail' })
  await endCancelled(world.ctx)
  expect(await deploymentOf(world, one.id, waits)).toMatchObject({
    state: 'cancelled',
    code: 'rollout-failed',
  })
  expect(await deploymentOf(world, one.id, begun)).toMatchObject({ state: 'installing' })
  await expect(act(world, one.id, 'resume')).rejects.toMatchObject({ code: 'illegal-transition' })
  expect(await brokenInvariants(world)).toEqual([])
})

test('rules of one’s own instead of the built-in ones, when that is said', async () => {
  const one = await givenRules(world, 6, { defaults: false, rules: [rule({ minExecuted: 5 })] })
  await said.fail(one, one.ids.slice(0, 4))
  await drive()
  expect((await now(one.id)).state).toBe('running')
  await said.fail(one, one.ids.slice(4, 5))
  expect((await now(one.id)).state).toBe('paused')
})

test('devices that refuse it are told from others that fail', async () => {
  const rules = [rule({ kinds: ['rejected'], percent: 40, minExecuted: 3 })]
  const one = await givenRules(world, 8, { defaults: false, rules })
  await said.fail(one, one.ids.slice(0, 3), 'net')
  expect((await now(one.id)).state).toBe('running')
  await said.fail(one, one.ids.slice(3, 4), 'hash')
  expect((await now(one.id)).state).toBe('running')
  await said.fail(one, one.ids.slice(4, 5), 'wrong-hardware')
  expect(await now(one.id)).toMatchObject({
    state: 'paused',
    reason: '2 of 5 devices refused it: the limit is 40 %',
  })
})

test('owners who want none of it stop it too, where a rule says so', async () => {
  const rules = [rule({ kinds: ['opted_out'], minExecuted: 2 })]
  const one = await givenRules(world, 4, { defaults: true, rules })
  for (const deviceId of one.ids.slice(0, 2)) {
    expect((await now(one.id)).state).toBe('running')
    await said.say(one.id, deviceId, 'offered')
    await choose(world, deviceId, { choice: 'optOut' })
  }
  expect((await now(one.id)).state).toBe('paused')
})

test('of a phase, what happened in an earlier one is no matter', async () => {
  const rules = [rule({ scope: 'phase', minExecuted: 3 })]
  const phases = [{ percent: 50, success_percent: 0, min_executed: 2 }, { percent: 100 }]
  const one = await givenRules(world, 40, { defaults: false, rules }, phases)
  const early = await metIn(world, one.id, 1)
  await said.fail(one, early.slice(0, 2))
  await drive()
  expect((await now(one.id)).phase_no).toBe(2)
  await meetDevices(world.ctx, one.ids)
  const late = await metIn(world, one.id, 2)
  await said.succeed(one, late.slice(0, 2))
  await said.fail(one, late.slice(2, 3))
  expect((await now(one.id)).state).toBe('running')
  await said.fail(one, late.slice(3, 4))
  expect((await now(one.id)).reason).toContain('2 of 4 devices of the phase')
})

test('a device that goes dark in a small phase pauses it, and is no reason again once it was seen', async () => {
  const one = await givenRules(world, 20, undefined)
  const [device = ''] = one.ids
  await said.say(one.id, device, 'installing')
  after(3 * 60)
  await endOverdue(world.ctx)
  expect(await now(one.id)).toMatchObject({
    state: 'paused',
    reason: 'A device went dark in a phase of no more than 20',
  })
  await act(world, one.id, 'resume')
  await drive()
  expect((await now(one.id)).state).toBe('running')
  // It was only slow: what it says counts, and the counts with it.
  await said.say(one.id, device, 'testing')
  await said.succeed(one, [device])
  expect(await brokenInvariants(world)).toEqual([])
  const kept = await world.db
    .selectFrom('deployment_code_count')
    .select('n')
    .where('rollout_id', '=', one.id)
    .execute()
  expect(kept.reduce((sum, { n }) => sum + n, 0)).toBe(0)
})

test('of 21 devices one that goes dark is not enough', async () => {
  const one = await givenRules(world, 21, undefined)
  await said.say(one.id, one.ids[0] ?? '', 'installing')
  after(3 * 60)
  await endOverdue(world.ctx)
  await drive()
  expect((await now(one.id)).state).toBe('running')
})

test('more failures than this fleet has: compared with what completed, not with what was stopped', async () => {
  const earlier = await givenRules(world, 60, undefined)
  await said.succeed(earlier, earlier.ids)
  await drive()
  expect((await now(earlier.id)).state).toBe('completed')
  const one = await givenRules(world, 80, undefined)
  // 60 more without a failure, and the failure and 200 devices that are taken for granted.
  expect((await now(one.id)).usual_failed).toBeCloseTo(1 / 260, 2)
  await said.succeed(one, one.ids.slice(0, 60))
  await said.fail(one, one.ids.slice(60, 63))
  expect((await now(one.id)).state).toBe('running')
  await said.fail(one, one.ids.slice(63, 65))
  expect(await now(one.id)).toMatchObject({ state: 'paused' })
  expect((await now(one.id)).reason).toMatch(/ of \d+ devices failed, where 0\.\d % usually do/)
})
