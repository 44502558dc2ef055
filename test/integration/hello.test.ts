import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { endOverdue } from '../../server/deployments/end.ts'
import { type BundlesFor, helloMessage } from '../../server/devices/hello.ts'
import type { Hello } from '../../server/protocol/messages.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenOne, givenStarted, ledgerOf } from '../support/rollout-given.ts'
import { deploymentOf, helloOf, report } from '../support/rollout-messages.ts'
import { installedBuild, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

const stored = async (id: string) =>
  await world.db.selectFrom('device').selectAll().where('id', '=', id).executeTakeFirstOrThrow()

/** The transaction that last wrote the row. */
const written = async (id: string) =>
  await world.db
    .selectFrom('device')
    .select(sql<string>`xmin::text`.as('xmin'))
    .where('id', '=', id)
    .executeTakeFirstOrThrow()

/** Stores hellos as one group and answers them; the bundle is what was asked for. */
async function say(...hellos: { deviceId: string; body: Hello; session?: number }[]) {
  const asked: Parameters<BundlesFor>[1][] = []
  const handler = helloMessage(async (_ctx, requests) => {
    asked.push(requests)
    return new Map(requests.map(({ deviceId }) => [deviceId, { director: {}, image: {} }]))
  })
  const now = world.clock.now()
  const { ctx } = world
  const after = await inTransaction(ctx.db, (tx) =>
    handler.store({ tx, ctx, now, messages: hellos }),
  )
  const before = asked.length
  await after?.(ctx)
  return { before, asked }
}

test('is stored, then met, then answered with what it asked for', async () => {
  const { ids, rolloutId } = await givenStarted(world, 1)
  const [device = ''] = ids
  world.connected.add(device)
  const body = helloOf({
    agent: 'sim/2',
    attributes: { room: 'attic', floor: 3, indoors: true },
    installed: [installedBuild(4), installedBuild(9), installedBuild(2, { component: 'radio' })],
    have: { director: { root: 1 } },
  })
  const { before, asked } = await say({ deviceId: device, body })
  expect(before).toBe(0)
  expect(asked).toEqual([[{ deviceId: device, nonce: body.nonce, have: body.have }]])
  expect(await stored(device)).toMatchObject({
    agent: 'sim/2',
    model: 'gate-2',
    hardware_ids: ['rev-a'],
    attributes: { room: 'attic', floor: 3, indoors: true },
    // What is said twice of one component counts once.
    installed: [installedBuild(4), installedBuild(2, { component: 'radio' })],
  })
  expect((await deploymentOf(world, rolloutId, device))?.state).toBe('queued')
  expect(world.sent).toEqual([
    { deviceId: device, leaf: 'bundle', body: { director: {}, image: {} } },
  ])
})

test('of several in one group the last counts, with its nonce', async () => {
  const { ids } = await givenStarted(world, 2)
  const [a = '', b = ''] = ids
  const last = helloOf({ agent: 'new' })
  const { asked } = await say(
    { deviceId: a, body: helloOf({ agent: 'old' }) },
    { deviceId: b, body: helloOf() },
    { deviceId: a, body: last },
  )
  expect(asked[0]?.toSorted((x) => (x.deviceId === a ? -1 : 1))).toMatchObject([
    { deviceId: a, nonce: last.nonce },
    { deviceId: b },
  ])
  expect((await stored(a)).agent).toBe('new')
})

test('is answered on the connection on which it was said, and on no later one', async () => {
  const { ids } = await givenStarted(world, 2)
  const [stayed = '', came = ''] = ids
  for (const id of ids) world.connected.add(id)
  world.sessions.set(stayed, 7).set(came, 9)
  await say(
    { deviceId: stayed, body: helloOf(), session: 7 },
    { deviceId: came, body: helloOf(), session: 8 },
  )
  const told = world.sent.filter(
    ({ leaf, deviceId }) => leaf === 'bundle' && ids.includes(deviceId),
  )
  expect(told.map(({ deviceId }) => deviceId)).toEqual([stayed])
})

test('that says nothing new writes nothing', async () => {
  const { ids } = await givenStarted(world, 1)
  const [device = ''] = ids
  const body = helloOf({ attributes: { a: 1, b: 'x' } })
  await say({ deviceId: device, body })
  const before = await written(device)
  world.clock.advance({ seconds: 60 })
  await say({
    deviceId: device,
    body: { ...body, nonce: '0'.repeat(32), attributes: { b: 'x', a: 1 } },
  })
  expect(await written(device)).toEqual(before)
  await say({ deviceId: device, body: { ...body, agent: 'other' } })
  expect(await written(device)).not.toEqual(before)
})

test('does not put off the deadline of an update, whatever is new in it', async () => {
  const { device, id, row } = await givenOne(world)
  await report(world, device, id, 'testing')
  for (let boot = 1; boot <= 4; boot++) {
    world.clock.advance({ seconds: 600 })
    await say({ deviceId: device, body: helloOf({ attributes: { boot } }) })
    await endOverdue(world.ctx)
    expect((await row()).state).toBe(boot * 600 > 1_800 ? 'lost' : 'testing')
  }
})

test('of a device that is not there is acknowledged and answered with nothing of ours', async () => {
  const stranger = crypto.randomUUID()
  await say({ deviceId: stranger, body: helloOf({ optOut: true }) })
  expect(await ledgerOf(world, stranger)).toEqual([])
})

test.each([
  ['no nonce', { nonce: 'abc' }],
  ['a field it does not know', { colour: 'red' }],
  ['too many components', { installed: Array.from({ length: 17 }, (_, n) => installedBuild(n)) }],
  ['an attribute that is no plain value', { attributes: { a: {} } }],
  ['an endless number', { attributes: { a: Number.POSITIVE_INFINITY } }],
])('with %s is malformed, and its honest twin is not', (_what, more) => {
  const handler = helloMessage(async () => new Map())
  const text = JSON.stringify({ ...helloOf(), ...more }).replace('"a":null', '"a":1e999')
  expect(handler.parse(Buffer.from(text))).toBeUndefined()
  expect(handler.parse(Buffer.from(JSON.stringify(helloOf())))).toBeDefined()
})

test('that is too long is refused unread', () => {
  const handler = helloMessage(async () => new Map())
  const text = JSON.stringify(helloOf())
  expect(handler.parse(Buffer.from(text.padEnd(handler.maxBytes)))).toBeDefined()
  expect(handler.parse(Buffer.from(text.padEnd(handler.maxBytes + 1)))).toBeUndefined()
})
