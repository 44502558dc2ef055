import { expect, test } from 'vitest'

import { inTransaction } from '../../server/db/transaction.ts'
import { eventMessages, eventsPerHour } from '../../server/events/messages.ts'
import {
  flushEvents,
  misconductPerHour,
  noteEvent,
  recordEvents,
  recordMisconduct,
} from '../../server/events/record.ts'
import { newId } from '../../server/ids.ts'
import { type DatabaseWorld, onBothDatabases } from '../support/both-databases.ts'

const device = '01890000-0000-7000-8000-00000000000a'
const other = '01890000-0000-7000-8000-00000000000b'

const both = onBothDatabases()

/** Without any event. */
function eventTest(name: string, work: (world: DatabaseWorld) => Promise<void>): void {
  both(name, async (world) => {
    await world.handle.db.deleteFrom('security_event').execute()
    await work(world)
  })
}

const [handler] = eventMessages
if (!handler) throw new Error('no handler')
const event = (n: number, more: object = {}) => {
  const parsed = handler.parse(
    Buffer.from(
      JSON.stringify({
        kind: 'login-failed',
        severity: 'warning',
        detail: `n ${n}`,
        at: '2030-01-01T00:00:00Z',
        ...more,
      }),
    ),
  )
  if (!parsed) throw new Error('not valid')
  return parsed.body
}
const store = async (
  { handle, api }: DatabaseWorld,
  messages: { deviceId: string; body: unknown }[],
) =>
  await inTransaction(handle.db, (tx) =>
    handler.store({ tx, ctx: api.ctx, now: api.ctx.clock.now(), messages }),
  )
const stored = async ({ api }: DatabaseWorld, deviceId: string) =>
  (await api.call('GET', `/events?deviceId=${deviceId}&limit=200`)).body.items ?? []

eventTest(
  'what a device reports is listed; the same message again is stored once',
  async (world) => {
    const messages = [
      { deviceId: device, body: event(1) },
      { deviceId: device, body: event(1) },
      { deviceId: other, body: event(1) },
    ]
    await store(world, messages)
    await store(world, messages)
    const [one, ...rest] = await stored(world, device)
    expect(rest).toEqual([])
    expect(one).toMatchObject({
      source: 'device',
      kind: 'login-failed',
      severity: 'warning',
      deviceId: device,
      facts: { detail: 'n 1', reportedAt: '2030-01-01T00:00:00Z' },
    })
    expect(await stored(world, other)).toHaveLength(1)
  },
)

eventTest(
  'a device that floods is heard sixty times an hour, and the rest is one event',
  async (world) => {
    const batch = (from: number, deviceId = device) =>
      Array.from({ length: 50 }, (_, n) => ({ deviceId, body: event(from + n) }))
    for (const from of [0, 50, 100]) await store(world, batch(from))
    await store(world, batch(0, other))
    const rows = await stored(world, device)
    expect(rows.filter(({ source }) => source === 'device')).toHaveLength(eventsPerHour)
    const dropped = rows.filter(({ kind }) => kind === 'device-events-dropped')
    expect(dropped).toHaveLength(1)
    expect(dropped[0]).toMatchObject({ source: 'server', severity: 'warning' })
    expect(await stored(world, other)).toHaveLength(50)
    world.api.ctx.clock.advance({ seconds: 3_601 })
    await store(world, [{ deviceId: device, body: event(1_000) }])
    expect(await stored(world, device)).toHaveLength(eventsPerHour + 2)
  },
)

eventTest('text that the database cannot hold does not break the group', async (world) => {
  await store(world, [{ deviceId: device, body: event(0, { detail: 'a\u0000b\ud800c\u001b[2J' }) }])
  const [row] = await stored(world, device)
  expect(row?.['facts']).toMatchObject({ detail: 'a b\ufffdc [2J' })
})

test.each([
  '{',
  '[]',
  '{"kind":"X Y","at":"2030-01-01T00:00:00Z"}',
  '{"kind":"x"}',
  `{"kind":"x","at":"2030-01-01T00:00:00Z","detail":"${'x'.repeat(1_001)}"}`,
])('refuses %s', (payload) => {
  expect(handler.parse(Buffer.from(payload))).toBeUndefined()
})

eventTest('filters and pages', async (world) => {
  const now = world.api.ctx.clock.now()
  await inTransaction(world.handle.db, (tx) =>
    recordEvents(
      tx,
      now,
      (['info', 'warning', 'critical'] as const).map((severity) => ({
        source: 'server' as const,
        kind: `kind-${severity}`,
        severity,
        facts: { severity },
      })),
    ),
  )
  const list = async (query: string) =>
    (await world.api.call('GET', `/events?${query}`)).body.items ?? []
  expect(await list('severity=critical')).toHaveLength(1)
  expect(await list('kind=kind-info')).toHaveLength(1)
  expect(await list('source=device')).toHaveLength(0)
  expect(await list(`deviceId=${newId(now)}`)).toHaveLength(0)
  const page = await world.api.call('GET', '/events?limit=2')
  expect(page.body.items).toHaveLength(2)
  expect(await list(`limit=2&cursor=${String(page.body['nextCursor'])}`)).toHaveLength(1)
  expect((await world.api.call('GET', '/events?severity=odd')).status).toBe(400)
})

eventTest(
  'what a device causes in messages is bounded an hour; the next hour counts anew',
  async (world) => {
    const { db } = world.handle
    const wrong = {
      source: 'server',
      kind: 'illegal-report',
      severity: 'warning',
      facts: {},
    } as const
    const cause = async (now: Date, deviceId: string) =>
      await inTransaction(db, (tx) => recordMisconduct(tx, now, [{ ...wrong, deviceId }]))
    const now = world.api.ctx.clock.now()
    for (let n = 0; n < misconductPerHour + 5; n++) await cause(now, device)
    await cause(now, other)
    expect(await stored(world, device)).toHaveLength(misconductPerHour)
    expect(await stored(world, other)).toHaveLength(1)
    await cause(new Date(now.getTime() + 3_700_000), device)
    expect(await stored(world, device)).toHaveLength(misconductPerHour + 1)
  },
)

eventTest(
  'a flood of refusals of one device is cut short; another device is still heard',
  async (world) => {
    const { ctx } = world.api
    const refusal = {
      source: 'server',
      kind: 'device-refused',
      severity: 'warning',
      facts: {},
    } as const
    const deviceId = newId(ctx.clock.now())
    for (let n = 0; n < 500; n++) noteEvent(ctx, { ...refusal, deviceId })
    noteEvent(ctx, { ...refusal, deviceId: other })
    await flushEvents(ctx)
    expect((await stored(world, deviceId)).length).toBeLessThan(70)
    expect(await stored(world, other)).toHaveLength(1)
  },
)

eventTest(
  'a text that no database holds is written as spaces, and loses no other event',
  async (world) => {
    const { ctx } = world.api
    const odd = { source: 'server', kind: 'odd', severity: 'warning' } as const
    noteEvent(ctx, {
      ...odd,
      deviceId: device,
      facts: { said: 'a\u0000b\ud83d', more: ['\u0000'] },
    })
    noteEvent(ctx, { ...odd, deviceId: other, facts: { n: 1 } })
    await flushEvents(ctx)
    expect(await stored(world, other)).toHaveLength(1)
    expect(await stored(world, device)).toMatchObject([
      { facts: { said: 'a b\ufffd', more: [' '] } },
    ])
  },
)

eventTest('what came of a command is recorded with the device, once', async (world) => {
  const results = eventMessages.find(({ leaf }) => leaf === 'command-result')
  const parse = (body: object) => results?.parse(Buffer.from(JSON.stringify(body)))
  const said = { command: 'renew', result: 'failed', code: 'busy', at: '2030-01-01T00:00:00Z' }
  expect(parse({ ...said, detail: 'x'.repeat(1_001) })).toBeUndefined()
  expect(parse({ ...said, result: 'perhaps' })).toBeUndefined()
  expect(parse({ ...said, detail: 'x'.repeat(1_000), more: 1 })).toBeUndefined()
  const { body } = parse({ ...said, detail: 'later' }) ?? {}
  const messages = [
    { deviceId: device, body },
    { deviceId: device, body },
  ]
  await inTransaction(world.handle.db, async (tx) => {
    await results?.store({ tx, ctx: world.api.ctx, now: world.api.ctx.clock.now(), messages })
  })
  expect(await stored(world, device)).toMatchObject([
    {
      kind: 'command-result',
      source: 'device',
      severity: 'warning',
      facts: { command: 'renew', result: 'failed', code: 'busy', detail: 'later' },
    },
  ])
})

eventTest(
  'the same message on two connections at the same moment is stored once, and nothing else is lost',
  async (world) => {
    const both = [1, 2].map((n) => ({ deviceId: device, body: event(n) }))
    const three = [2, 3].map((n) => ({ deviceId: device, body: event(n) }))
    // On the embedded database one waits for the other; with PostgreSQL neither sees what the other has not committed.
    await Promise.all(Array.from({ length: 6 }, (_, n) => store(world, n % 2 === 0 ? both : three)))
    const details = (await stored(world, device)).map(({ facts }) => facts)
    expect(details.map((facts) => (facts as { detail: string }).detail).toSorted()).toEqual([
      'n 1',
      'n 2',
      'n 3',
    ])
  },
)
