import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { PollLoad } from '../../server/ddi/poll-load.ts'
import { Polls } from '../../server/ddi/polls.ts'
import { announceIdentityChange } from '../../server/devices/identity-change.ts'
import { addMembers } from '../../server/groups/service.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenPolling, pollingProcess } from '../support/polling.ts'
import { givenStarted, newBuild } from '../support/rollout-given.ts'
import {
  act,
  givenDevices,
  givenGroup,
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

async function givenIdle(count: number) {
  const groupId = await givenGroup(world)
  const ids = await givenDevices(world, groupId, count)
  await givenPolling(world, ids)
  return { groupId, ids, process: await pollingProcess(world) }
}

const costOf = async (work: () => Promise<unknown>) => await world.counter.during(work)

test('a poll with nothing to do: one statement at first, none after it, and the same answer', async () => {
  const { ids, process } = await givenIdle(1)
  const [id = ''] = ids
  const first = await process.poll(id)
  expect(first._links).toEqual({})
  process.quiet.forgetAll()
  expect(await costOf(() => process.poll(id))).toBe(1)
  expect(await costOf(() => process.poll(id))).toBe(0)
  expect(await process.poll(id)).toEqual(first)
})

test('hundreds that poll at once are read together', async () => {
  const { ids, process } = await givenIdle(400)
  // The first two read for themselves while the others gather.
  expect(await costOf(() => Promise.all(ids.map((id) => process.poll(id))))).toBeLessThanOrEqual(5)
  expect(process.quiet.size).toBe(400)
  expect(await costOf(() => Promise.all(ids.map((id) => process.poll(id))))).toBe(0)
})

test('a rollout that starts, and a phase that opens, reach a device by its first poll after the next look', async () => {
  const { groupId, ids, process } = await givenIdle(60)
  await Promise.all(ids.map((id) => process.poll(id)))
  const release = await givenRelease(world, { build: newBuild() })
  const phases = [{ percent: 30, hold: true }, { percent: 100 }]
  const rolloutId = await givenRollout(world, groupId, release.id, phases)
  await act(world, rolloutId, 'start')
  await process.look()
  const offered = async () => {
    const answers = await Promise.all(ids.map((id) => process.poll(id)))
    return ids.filter((_, n) => answers[n]?._links['deploymentBase'])
  }
  const first = await offered()
  expect(first.length).toBeGreaterThan(3)
  expect(first.length).toBeLessThan(40)
  // Those that wait for the second phase cost nothing either until it opens.
  const waiting = ids.filter((id) => !first.includes(id))
  expect(await costOf(() => Promise.all(waiting.map((id) => process.poll(id))))).toBe(0)
  await act(world, rolloutId, 'advance')
  await process.look()
  expect(await offered()).toHaveLength(60)
})

test('a device that joins the group of a running rollout is offered it, also when nobody was told', async () => {
  const { groupId } = await givenStarted(world, 1)
  const { ids, process } = await givenIdle(2)
  const [told = '', untold = ''] = ids
  for (const id of ids) expect((await process.poll(id))._links).toEqual({})
  await inTransaction(world.db, (tx) => addMembers(tx, groupId, ids, world.clock.now()))
  expect((await process.poll(told))._links).toEqual({})
  await announceIdentityChange(world.ctx, [told])
  expect(Object.keys((await process.poll(told))._links)).toEqual(['deploymentBase'])
  await process.look()
  expect(Object.keys((await process.poll(untold))._links)).toEqual(['deploymentBase'])
})

test('a process whose looks fail, or that hears nothing, believes nothing that it remembers', async () => {
  const { ids, process } = await givenIdle(1)
  const [id = ''] = ids
  await process.poll(id)
  expect(await costOf(() => process.poll(id))).toBe(0)
  process.pass(3_000)
  expect(await costOf(() => process.poll(id))).toBe(1)
  expect(await costOf(() => process.poll(id))).toBe(1)
  await process.look()
  expect(await costOf(() => process.poll(id))).toBe(0)
})

test('what nobody announced is asked again after a quarter of an hour, and after a minute where a rollout runs', async () => {
  const { groupId, ids, process } = await givenIdle(1)
  const [id = ''] = ids
  const isAsked = async (ms: number) => {
    process.pass(ms)
    process.quiet.get('')
    await process.look()
    return (await costOf(() => process.poll(id))) > 0
  }
  await process.poll(id)
  expect(await isAsked(14 * 60_000)).toBe(false)
  expect(await isAsked(60_000)).toBe(true)
  const release = await givenRelease(world, { build: newBuild() })
  await act(world, await givenRollout(world, groupId, release.id, [{ percent: 0.001 }]), 'start')
  expect(await isAsked(0)).toBe(true)
  expect(await isAsked(59_000)).toBe(false)
  expect(await isAsked(1_000)).toBe(true)
})

test('a change that comes while a device is read is not lost', async () => {
  const { ids, process } = await givenIdle(1)
  const [id = ''] = ids
  const polled = process.poll(id)
  process.polls.forget(id)
  await polled
  expect(await costOf(() => process.poll(id))).toBe(1)
  expect(await costOf(() => process.poll(id))).toBe(0)
})

test('too many that have to be read are refused with a time to come again; what is known is answered', async () => {
  const { ids, process } = await givenIdle(3)
  const [known = '', first = '', second = ''] = ids
  await process.poll(known)
  const busy = new Polls(world.ctx, process.quiet, new PollLoad({ reads: 0, atOnce: 1 }))
  const where = { host: 'localhost', port: 1, tenant: 'DEFAULT' }
  const ask = async (deviceId: string) =>
    await busy.answer({ deviceId, said: deviceId, agent: 'test', where })
  await ask(first)
  const refusal = { code: 'rate-limited', facts: { retryAfterSeconds: 31 } }
  await expect(ask(second)).rejects.toMatchObject(refusal)
  expect(await ask(known)).toMatchObject({ body: { _links: {} }, isRoutine: true })
})

test('a name in the path that is not the device’s is refused, from memory too', async () => {
  const { ids, process } = await givenIdle(2)
  const [id = '', other = ''] = ids
  await process.poll(id)
  await expect(process.poll(id, other)).rejects.toMatchObject({ code: 'not-allowed' })
  await expect(process.poll(id, 'nobody')).rejects.toMatchObject({ code: 'not-allowed' })
  await world.db
    .updateTable('ddi_device')
    .set({ controller_id: 'board-7' })
    .where('device_id', '=', id)
    .execute()
  process.polls.forget(id)
  await process.poll(id, 'board-7')
  expect(await costOf(() => process.poll(id, 'board-7'))).toBe(0)
})

test('two processes: what one gave a device is not hidden by what the other remembers', async () => {
  const { groupId, ids, process: one } = await givenIdle(1)
  const two = await pollingProcess(world)
  const [id = ''] = ids
  for (const process of [one, two]) await process.poll(id)
  const release = await givenRelease(world, { build: newBuild() })
  await act(world, await givenRollout(world, groupId, release.id), 'start')
  await two.look()
  expect(Object.keys((await two.poll(id))._links)).toEqual(['deploymentBase'])
  await one.look()
  expect((await one.poll(id))._links).toEqual((await two.poll(id))._links)
})
