import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endOverdue } from '../../server/deployments/end.ts'
import { newId } from '../../server/ids.ts'
import { Limits } from '../../server/rollouts/limits-wire.ts'
import { limitColumn, limitsView } from '../../server/rollouts/limits.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import { eventsOf, givenMet } from '../support/rollout-given.ts'
import { brokenInvariants } from '../support/rollout-invariants.ts'
import { deploymentOf } from '../support/rollout-messages.ts'
import { sayings } from '../support/rollout-rules.ts'
import { rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
let said: ReturnType<typeof sayings>
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
  said = sayings(world)
})
afterAll(() => handle[Symbol.asyncDispose]())

const after = (minutes: number) => world.clock.advance({ seconds: minutes * 60 })
const setLimits = async (id: string, limits: Limits) =>
  await world.db
    .updateTable('rollout')
    .set({ limits: limitColumn(limits) })
    .where('id', '=', id)
    .execute()
const stateOf = async (id: string, deviceId: string) => {
  const row = await deploymentOf(world, id, deviceId)
  return row && `${row.state} ${row.code}`
}
const heard = async (deviceId: string) =>
  await world.db
    .insertInto('device_presence')
    .values({
      device_id: deviceId,
      node_id: newId(world.clock.now()),
      epoch: 1,
      connected: false,
      last_seen_at: world.clock.now(),
    })
    .execute()

test('a rollout has limits of its own, shorter or longer, and the server’s for the other states', async () => {
  const { ids, rolloutId: id } = await givenMet(world, 3)
  const other = await givenMet(world, 1)
  await setLimits(id, { installing: 'PT10M', testing: 'PT3H' })
  const [a = '', b = '', c = ''] = ids
  const [elsewhere = ''] = other.ids
  await said.say(id, a, 'installing')
  await said.say(id, b, 'testing')
  await said.say(id, c, 'verified')
  await said.say(other.rolloutId, elsewhere, 'installing')
  after(11)
  await endOverdue(world.ctx)
  expect(await stateOf(id, a)).toBe('lost dark')
  expect(await stateOf(other.rolloutId, elsewhere)).toBe('installing null')
  after(150)
  await endOverdue(world.ctx)
  expect(await stateOf(id, b)).toBe('testing null')
  expect(await stateOf(id, c)).toBe('lost dark')
  expect(await stateOf(other.rolloutId, elsewhere)).toBe('lost dark')
  after(20)
  await endOverdue(world.ctx)
  expect(await stateOf(id, b)).toBe('lost dark')
  expect(await brokenInvariants(world)).toEqual([])
})

test('a device that polled lately is slow, and not dark', async () => {
  const { ids, rolloutId: id } = await givenMet(world, 2)
  const [slow = '', gone = ''] = ids
  for (const one of ids) await said.say(id, one, 'installing')
  await heard(gone)
  after(115)
  await heard(slow)
  after(6)
  await endOverdue(world.ctx)
  expect(await stateOf(id, slow)).toBe('lost timeout')
  expect(await stateOf(id, gone)).toBe('lost dark')
})

test('who comes back is counted anew, and whoever decided by the count is told', async () => {
  const { ids, rolloutId: id, release } = await givenMet(world, 2)
  const [late = '', bad = ''] = ids
  for (const one of ids) await said.say(id, one, 'testing')
  after(31)
  await endOverdue(world.ctx)
  expect((await getRollout(world.db, id)).state).toBe('paused')
  await said.succeed({ id, release }, [late])
  await said.say(id, bad, 'rolled_back', 'health')
  expect(await stateOf(id, late)).toBe('succeeded null')
  expect(await eventsOf(world, late)).toEqual(['outcome-corrected warning'])
  expect(await eventsOf(world, bad)).toEqual(['outcome-corrected warning'])
  // What was opened or stopped meanwhile stays so: a person decides.
  expect((await getRollout(world.db, id)).state).toBe('paused')
  expect(await brokenInvariants(world)).toEqual([])
})

test('as they are written and shown', () => {
  expect(limitsView(JSON.parse(limitColumn({ testing: 'PT90M', accepted: 'P2D' })))).toEqual({
    accepted: 'P2D',
    testing: 'PT1H30M',
  })
  for (const odd of [{ testing: 'PT4M' }, { queued: 'P1D' }, { testing: 5 }, { testing: 'P2Y' }])
    expect(Limits.safeParse(odd).success).toBe(false)
  expect(Limits.safeParse({ testing: 'PT5M' }).success).toBe(true)
})
