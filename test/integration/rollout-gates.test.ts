import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { getRollout, type NewPhase, phasesOf } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import { choose } from '../support/rollout-messages.ts'
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
const now = async (id: string) => await getRollout(world.db, id)

const phases = (first: Partial<NewPhase>) => [
  // Nearly everybody, whatever the seed.
  { percent: 99.99, ...first },
  { percent: 100 },
]

test('a gate soaks by the clock, from the success that was missing', async () => {
  const one = await givenRules(world, 30, undefined, phases({ soak_s: 3_600, min_executed: 2 }))
  const early = await metIn(world, one.id, 1)
  await said.succeed(one, early.slice(0, 1))
  after(120)
  await drive()
  expect(await first(one.id)).toMatchObject({ met_at: null })
  await said.succeed(one, early.slice(1, 2))
  await drive()
  expect(await first(one.id)).toMatchObject({ met_at: world.clock.now() })
  after(59)
  await drive()
  expect((await now(one.id)).phase_no).toBe(1)
  after(1)
  await drive()
  expect((await now(one.id)).phase_no).toBe(2)
})

test('a gate that is no longer met soaks anew', async () => {
  const one = await givenRules(
    world,
    60,
    { defaults: false, rules: [] },
    phases({ soak_s: 3_600, success_percent: 60 }),
  )
  const early = await metIn(world, one.id, 1)
  await said.succeed(one, early.slice(0, 1))
  await drive()
  const started = world.clock.now()
  after(30)
  await said.fail(one, early.slice(1, 2))
  await drive()
  expect(await first(one.id)).toMatchObject({ met_at: null })
  await said.succeed(one, early.slice(2, 4))
  await drive()
  expect((await first(one.id)).met_at?.getTime()).toBeGreaterThan(started.getTime())
  after(45)
  await drive()
  expect((await now(one.id)).phase_no).toBe(1)
})

test('a gate is a person’s turn when too few devices come, and stays it', async () => {
  const one = await givenRules(world, 30, undefined, phases({ within_s: 3_600, min_executed: 2 }))
  const early = await metIn(world, one.id, 1)
  await said.succeed(one, early.slice(0, 1))
  after(61)
  await Promise.all([drive(), drive(), drive()])
  expect(await first(one.id)).toMatchObject({ held_at: world.clock.now() })
  const held = await world.db
    .selectFrom('audit_event')
    .select(['actor', 'facts'])
    .where('subject', '=', one.id)
    .where('action', '=', 'rollout.hold')
    .execute()
  expect(held).toMatchObject([{ actor: 'system', facts: { phase: 1, for: 'contacts' } }])
  await said.succeed(one, early.slice(1, 3))
  await drive()
  expect((await now(one.id)).phase_no).toBe(1)
  await act(world, one.id, 'advance')
  expect((await now(one.id)).phase_no).toBe(2)
})

test('a gate waits while too many owners put it off', async () => {
  const one = await givenRules(world, 40, undefined, phases({ max_put_off: 10 }))
  const early = await metIn(world, one.id, 1)
  const [never = '', ...others] = early
  const many = others.slice(0, Math.ceil(early.length / 10))
  for (const deviceId of [never, ...many]) {
    await said.say(one.id, deviceId, 'offered')
    await choose(world, deviceId, { choice: 'optOut' })
  }
  await said.succeed(one, others.slice(-1))
  await drive()
  expect((await now(one.id)).phase_no).toBe(1)
  for (const deviceId of many) await choose(world, deviceId, { choice: 'optIn' })
  await drive()
  expect((await now(one.id)).phase_no).toBe(2)
})

async function first(id: string) {
  const [phase] = await phasesOf(world.db, [id])
  if (!phase) throw new Error('no phase')
  return phase
}
