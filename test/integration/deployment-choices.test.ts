import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { eventsOf, givenMet, givenOne, historyOf, ledgerOf } from '../support/rollout-given.ts'
import { choose, deploymentOf, hello, report } from '../support/rollout-messages.ts'
import { rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

const inHours = (n: number) => new Date(world.clock.now().getTime() + n * 3_600_000).toISOString()
test('accept, and a feature that waits for it', async () => {
  const { device, id, row } = await givenOne(world, { class: 'feature' })
  await report(world, device, id, 'offered')
  await choose(world, device, { choice: 'accept' })
  await choose(world, device, { choice: 'accept', deploymentId: id })
  expect((await row()).state).toBe('accepted')
  expect(await ledgerOf(world, device)).toEqual(['accept applied'])
  expect(await historyOf(world, id)).toEqual(['queued engine', 'offered device', 'accepted owner'])
})

test('postpone within the limits; beyond them it is refused, in the ledger, and the device asks again', async () => {
  const { device, id, row } = await givenOne(world)
  await report(world, device, id, 'offered')
  world.woken.length = 0
  await choose(world, device, { choice: 'postpone', deploymentId: id, until: inHours(72) })
  await choose(world, device, { choice: 'postpone', deploymentId: id, until: inHours(72) })
  expect(await row()).toMatchObject({ state: 'postponed', postpone_count: 1 })
  expect(world.woken).toEqual([])
  await choose(world, device, { choice: 'postpone', deploymentId: id, until: inHours(80) })
  expect(await row()).toMatchObject({ state: 'postponed', postpone_count: 1 })
  expect(world.woken).toEqual([device])
  expect(await ledgerOf(world, device)).toEqual([
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
  const { device, id, row } = await givenOne(world)
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
  expect(await ledgerOf(world, device)).toEqual(['optOut applied', 'optIn applied'])
  expect(await historyOf(world, id)).toEqual([
    'queued engine',
    'offered device',
    'opted_out owner',
    'offered owner',
  ])
})

test('opt out of one release: the standing choice stays, and the device is asked for it', async () => {
  const { device, id, row } = await givenOne(world)
  world.woken.length = 0
  await choose(world, device, { choice: 'optOut', deploymentId: id })
  expect((await row()).state).toBe('opted_out')
  expect(world.woken).toEqual([device])
  await hello(world, device, { optOut: false })
  expect(await ledgerOf(world, device)).toEqual(['optOut applied'])
})

test('what the device holds wins over what the server remembers', async () => {
  const { device } = await givenOne(world)
  await hello(world, device, { optOut: true })
  await hello(world, device, { optOut: true })
  await hello(world, device, { optOut: false })
  expect(await ledgerOf(world, device)).toEqual([
    'optOut applied (standing)',
    'optIn applied (standing)',
  ])
})

test("about another device's deployment changes nothing", async () => {
  const { ids, deployments, rolloutId } = await givenMet(world, 2)
  const [a = '', b = ''] = ids
  await choose(world, b, { choice: 'optOut', deploymentId: deployments[0] ?? '' })
  expect((await deploymentOf(world, rolloutId, a))?.state).toBe('queued')
  expect(await eventsOf(world, b)).toEqual(['illegal-choice warning'])
  expect(await ledgerOf(world, b)).toEqual([])
})

test('nothing is offered: the refusal is remembered', async () => {
  const { device, id } = await givenOne(world)
  await report(world, device, id, 'failed_final')
  await choose(world, device, { choice: 'accept' })
  expect(await ledgerOf(world, device)).toEqual(['accept refused: no update is offered (standing)'])
})
