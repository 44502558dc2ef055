import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { choicesPerHour } from '../../server/deployments/ledger.ts'
import { createTestDatabase } from '../support/database.ts'
import { eventsOf, givenMet, givenOne, historyOf, ledgerOf } from '../support/rollout-given.ts'
import { choose, deploymentOf, hello, receive, report } from '../support/rollout-messages.ts'
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

test('the ledger keeps which text the owner was shown, and when they answered', async () => {
  const { device, id } = await givenOne(world, { class: 'feature', version: '7.1.0' })
  await report(world, device, id, 'offered')
  const said = { textSha256: 'ab'.repeat(32), at: '2026-11-20T10:00:00.000Z' }
  await choose(world, device, { choice: 'accept', deploymentId: id, ...said })
  const rows = await world.db
    .selectFrom('choice_event')
    .select(['choice', 'version', 'text_sha256', 'chosen_at'])
    .where('device_id', '=', device)
    .execute()
  expect(rows).toEqual([
    {
      choice: 'accept',
      version: '7.1.0',
      text_sha256: said.textSha256,
      chosen_at: new Date(said.at),
    },
  ])
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

describe('a device that never stops changing its mind', () => {
  /** The first one says what is so already, and is no choice. */
  const many = choicesPerHour + 30
  /** Opts out and in again, in groups as a broker under load forms them, and ends with `last`. */
  async function alternate(device: string, last: 'optOut' | 'optIn', count = many) {
    const other = last === 'optOut' ? ('optIn' as const) : ('optOut' as const)
    const bodies = Array.from({ length: count }, (_, n) => ((count - n) % 2 === 1 ? last : other))
    for (let at = 0; at < count; at += 9) {
      const group = bodies
        .slice(at, at + 9)
        .map((choice) => ({ deviceId: device, body: { choice } }))
      await receive(world, 'choice', group)
    }
  }

  test('fills an hour of the ledger and one row for the rest; its newest choice counts', async () => {
    const { device, row } = await givenOne(world)
    await alternate(device, 'optOut')
    const ledger = await ledgerOf(world, device)
    expect(ledger).toHaveLength(choicesPerHour + 1)
    expect(ledger.at(-1)).toBe('optOut 29 choices not recorded')
    expect((await row()).state).toBe('opted_out')
    const standing = async () =>
      await world.db
        .selectFrom('device')
        .select(['update_opt_out', 'changed_at'])
        .where('id', '=', device)
        .executeTakeFirstOrThrow()
    expect((await standing()).update_opt_out).toBe(true)
    // Deadlines of deployments run from it.
    expect((await standing()).changed_at.getTime()).toBeLessThan(world.clock.now().getTime())
    await hello(world, device, { optOut: false })
    expect((await standing()).update_opt_out).toBe(false)
    expect((await ledgerOf(world, device)).at(-1)).toBe('optIn 30 choices not recorded (standing)')
    // Another device has an hour of its own, and so has this one later.
    const other = await givenOne(world)
    await choose(world, other.device, { choice: 'optOut' })
    expect(await ledgerOf(world, other.device)).toEqual(['optOut applied'])
    world.clock.advance({ seconds: 3601 })
    await choose(world, device, { choice: 'optOut' })
    expect((await ledgerOf(world, device)).at(-1)).toBe('optOut applied (standing)')
  })

  test('is still heard when it accepts, and that is recorded', async () => {
    const { device, row } = await givenOne(world)
    await alternate(device, 'optIn')
    await choose(world, device, { choice: 'accept' })
    expect((await row()).state).toBe('accepted')
    expect((await ledgerOf(world, device)).at(-1)).toBe('accept applied')
  })

  test('does not make the history of its deployment grow for ever, neither by choices nor by reports', async () => {
    const { device, id, row } = await givenOne(world)
    await alternate(device, 'optIn', 540)
    const full = (await historyOf(world, id)).length
    expect(full).toBeLessThan(520)
    await alternate(device, 'optIn', 20)
    await report(world, device, id, 'opted_out')
    expect((await row()).state).toBe('opted_out')
    await report(world, device, id, 'offered')
    expect(await historyOf(world, id)).toHaveLength(full)
    await choose(world, device, { choice: 'accept' })
    expect((await historyOf(world, id)).at(-1)).toBe('accepted owner')
  })
})
