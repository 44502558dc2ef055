import { EventEmitter } from 'node:events'
import { createServer, get, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

import { afterEach, beforeAll, afterAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { type LiveLimits, LiveRollouts } from '../../server/rollouts/live.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenStarted } from '../support/rollout-given.ts'
import { deploymentIdOf, report } from '../support/rollout-messages.ts'
import { act, rolloutWorld, StatementCounter, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
let api: TestApi
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
  api = await startApi(handle)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const open: (() => void)[] = []
afterEach(() => {
  for (const close of open.splice(0)) close()
})

/** What a reader got so far, event by event. */
interface Reader {
  status: number
  type: string
  text: () => string
  events: () => { event: string; id: string; data: Json }[]
  /** Until what came fits. */
  until: (fits: (reader: Reader) => boolean) => Promise<void>
  ended: () => boolean
  raw: IncomingMessage
}
// oxlint-disable-next-line typescript/no-explicit-any -- what a script would see
type Json = any

async function read(url: string, headers: Record<string, string> = {}): Promise<Reader> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const request = get(url, { headers, agent: false }, resolve).once('error', reject)
  open.push(() => request.destroy())
  const raw = await promise
  let text = ''
  let isEnded = false
  raw.on('data', (chunk: Buffer) => (text += chunk.toString()))
  raw.once('close', () => (isEnded = true)).on('error', () => {})
  const reader: Reader = {
    raw,
    status: raw.statusCode ?? 0,
    type: raw.headers['content-type'] ?? '',
    text: () => text,
    events: () =>
      text
        .split('\n\n')
        .filter((block) => block.includes('event: '))
        .map((block) => {
          const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1] ?? ''
          return { event: field('event'), id: field('id'), data: JSON.parse(field('data')) }
        }),
    ended: () => isEnded,
    until: async (fits) => {
      await expect.poll(() => fits(reader), { timeout: 60_000, interval: 20 }).toBe(true)
    },
  }
  return reader
}

const watchApi = async (rolloutId: string, headers: Record<string, string> = {}) =>
  await read(`${api.url}/api/v1/rollouts/${rolloutId}/events`, {
    authorization: `Bearer ${api.keys.viewer.secret}`,
    ...headers,
  })

/** A feed whose looks the test makes, and a door to it. */
async function givenFeed(limits: Partial<LiveLimits> = {}, ctx: object = {}) {
  const feed = new LiveRollouts({ ...world.ctx, ...ctx }, { everyMs: 3_600_000, ...limits })
  const server: Server = createServer((req, res) => {
    const [, rolloutId = '', actor = ''] = (req.url ?? '').split('/')
    const seen = req.headers['last-event-id']?.toString()
    Object.assign(res, {
      status: (code: number) => Object.assign(res, { statusCode: code }),
      type: (name: string) => res.setHeader('Content-Type', name),
    })
    feed
      .watch({ rolloutId, ...rightOf(actor), seen, res: res as never })
      .catch((error: unknown) => {
        res.writeHead(418).end(String((error as { code?: string }).code))
      })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  open.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const watch = async (rolloutId: string, actor = viewer(), headers = {}) =>
    await read(`http://127.0.0.1:${port}/${rolloutId}/${actor}`, headers)
  return { feed, watch }
}
const viewer = () => `key:${api.keys.viewer.id}`
const rightOf = (actor: string) => ({ actor, permission: 'rollouts:read', reach: 'fleet' }) as const

test('a snapshot, then what changes, then the end, over the interface', async () => {
  const { ids, rolloutId } = await givenStarted(world, 2)
  const reader = await watchApi(rolloutId)
  expect(reader).toMatchObject({ status: 200, type: 'text/event-stream; charset=utf-8' })
  await reader.until(({ events }) => events().length === 1)
  expect(reader.events()[0]).toMatchObject({
    event: 'snapshot',
    data: { id: rolloutId, state: 'running', counts: {} },
  })
  await meetDevices(world.ctx, ids)
  await reader.until(({ events }) => events().length === 2)
  expect(reader.events()[1]).toMatchObject({ event: 'change', data: { counts: { queued: 2 } } })
  await act(world, rolloutId, 'cancel', { reason: 'enough' })
  await reader.until(({ ended }) => ended())
  expect(reader.events().slice(-2)).toMatchObject([
    { event: 'change', data: { state: 'cancelled', reason: 'enough' } },
    { event: 'end', data: { reason: 'rollout-ended' } },
  ])
  // Whoever saw the end and comes back is told not to; whoever did not is told how it ended.
  const last = reader.events().at(-2)?.id ?? ''
  expect((await watchApi(rolloutId, { 'last-event-id': last })).status).toBe(204)
  const late = await watchApi(rolloutId)
  await late.until(({ ended }) => ended())
  expect(late.events().map(({ event }) => event)).toEqual(['snapshot', 'end'])
})

test('what one process does is seen in another', async () => {
  const { ids, rolloutId } = await givenStarted(world, 3)
  await using other = await startApi(handle)
  const url = `${other.url}/api/v1/rollouts/${rolloutId}/events`
  const reader = await read(url, { authorization: `Bearer ${api.keys.viewer.secret}` })
  const here = await watchApi(rolloutId)
  await meetDevices(world.ctx, ids)
  for (const one of [reader, here]) {
    await one.until(({ events }) => events().at(-1)?.data.counts?.queued === 3)
  }
  // The same in both: whoever changes over misses nothing and sees nothing twice.
  expect(reader.events().at(-1)?.id).toBe(here.events().at(-1)?.id)
})

test('a reader that comes back is sent nothing that it saw', async () => {
  const { rolloutId, ids } = await givenStarted(world, 1)
  const { feed, watch } = await givenFeed()
  const first = await watch(rolloutId)
  await first.until(({ events }) => events().length === 1)
  const id = first.events()[0]?.id ?? ''
  const again = await watch(rolloutId, viewer(), { 'last-event-id': id })
  await feed.tick()
  await meetDevices(world.ctx, ids)
  await feed.tick()
  await again.until(({ events }) => events().length === 1)
  expect(again.events()).toMatchObject([{ event: 'change', data: { counts: { queued: 1 } } }])
})

test('however many watch, a look asks the same few questions; nobody, none', async () => {
  const counter = new StatementCounter()
  const { feed, watch } = await givenFeed({}, { db: handle.db.withPlugin(counter) })
  const a = await givenStarted(world, 1)
  const b = await givenStarted(world, 1)
  expect(await counter.during(() => feed.tick())).toBe(0)
  const first = await watch(a.rolloutId)
  await first.until(({ events }) => events().length === 1)
  const alone = await counter.during(() => feed.tick())
  expect(alone).toBeLessThanOrEqual(8)
  const readers = [
    await watch(b.rolloutId),
    ...(await Promise.all([1, 2, 3, 4, 5].map(async () => await watch(a.rolloutId)))),
  ]
  for (const one of readers) await one.until(({ events }) => events().length === 1)
  expect(await counter.during(() => feed.tick())).toBe(alone)
  // One more of what is watched costs nothing.
  expect(await counter.during(() => watch(a.rolloutId))).toBe(0)
  for (const { raw } of readers) raw.destroy()
})

test('a heartbeat when nothing happens, and only then', async () => {
  const { rolloutId } = await givenStarted(world, 1)
  const { feed, watch } = await givenFeed({ heartbeatMs: 15_000 })
  const reader = await watch(rolloutId)
  await feed.tick()
  world.clock.advance({ seconds: 16 })
  await feed.tick()
  await reader.until(({ text }) => text().includes(': still here'))
  await feed.tick()
  await act(world, rolloutId, 'pause', {})
  await feed.tick()
  await reader.until(({ events }) => events().length === 2)
  expect(reader.text().match(/still here/g)).toHaveLength(1)
})

test('a key that is revoked or over sees no more, and the others go on', async () => {
  const { rolloutId, ids } = await givenStarted(world, 1)
  const made = await api.call('POST', '/api-keys', { name: 'short', role: 'viewer' })
  const short = String(made.body['id'])
  const { feed, watch } = await givenFeed()
  const gone = await watch(rolloutId, `key:${short}`)
  const stays = await watch(rolloutId)
  await feed.tick()
  expect((await api.call('DELETE', `/api-keys/${short}`)).status).toBe(204)
  await meetDevices(world.ctx, ids)
  await feed.tick()
  await gone.until(({ ended }) => ended())
  expect(gone.events().at(-1)).toMatchObject({ event: 'end', data: { reason: 'key-refused' } })
  expect(gone.text()).not.toContain('queued')
  await stays.until(({ text }) => text().includes('queued'))
})

test('so does a key that may do less than when it began', async () => {
  const { rolloutId } = await givenStarted(world, 1)
  const key = `key:${api.keys.auditor.id}`
  const { feed, watch } = await givenFeed()
  const narrowed = await watch(rolloutId, key)
  await api.call('PUT', `/grants/${key}`, { grants: [{ role: 'signer' }] })
  await feed.tick()
  await narrowed.until(({ ended }) => ended())
  expect(narrowed.events().at(-1)).toMatchObject({ event: 'end', data: { reason: 'key-refused' } })
})

test('bounded in all and for each key; the place of one that left is free again', async () => {
  const { rolloutId } = await givenStarted(world, 1)
  const { feed, watch } = await givenFeed({ watchersPerKey: 2, watchers: 3 })
  const [first] = [await watch(rolloutId), await watch(rolloutId)]
  expect((await watch(rolloutId)).status).toBe(418)
  const operator = `key:${api.keys.operator.id}`
  expect((await watch(rolloutId, operator)).status).toBe(200)
  expect((await watch(rolloutId, operator)).status).toBe(418)
  expect(feed.size).toBe(3)
  first?.raw.destroy()
  await expect.poll(() => feed.size, { timeout: 60_000 }).toBe(2)
  expect((await watch(rolloutId)).status).toBe(200)
})

/** A reader whose line takes nothing in. */
class StuckResponse extends EventEmitter {
  writableNeedDrain = false
  headersSent = true
  written = ''
  isDestroyed = false
  status = () => this
  type = () => this
  setHeader = () => {}
  flushHeaders = () => {}
  write = (text: string) => {
    this.written += text
    this.writableNeedDrain = text.startsWith('id: ')
  }
  destroy = () => {
    this.isDestroyed = true
    this.emit('close')
  }
}

test('a reader that takes nothing in is dropped, and holds up nobody', async () => {
  const { rolloutId, ids } = await givenStarted(world, 1)
  const { feed, watch } = await givenFeed({ behindMs: 30_000 })
  const slow = new StuckResponse()
  await feed.watch({ rolloutId, ...rightOf(viewer()), res: slow as never })
  const quick = await watch(rolloutId)
  await meetDevices(world.ctx, ids)
  await feed.tick()
  await quick.until(({ text }) => text().includes('queued'))
  // It is sent what is true when it can take it, and nothing of what was in between.
  expect(slow.written).not.toContain('queued')
  world.clock.advance({ seconds: 29 })
  const deployment = await deploymentIdOf(world, rolloutId, ids[0] ?? '')
  await report(world, ids[0] ?? '', deployment, 'failed_final', { code: 'no-space' })
  slow.writableNeedDrain = false
  await feed.tick()
  expect(slow.written).toContain('failed_final')
  expect(slow.written).not.toContain('queued')
  await act(world, rolloutId, 'pause')
  await feed.tick()
  expect(slow.isDestroyed).toBe(false)
  world.clock.advance({ seconds: 30 })
  await feed.tick()
  expect(slow.isDestroyed).toBe(true)
  expect(feed.size).toBe(1)
  await quick.until(({ text }) => text().includes('paused'))
})

test('without the database everybody is let go before long, and nothing is invented', async () => {
  const { rolloutId } = await givenStarted(world, 1)
  let isAway = false
  const db = handle.db.withPlugin({
    transformQuery: ({ node }) => {
      if (isAway) throw new Error('away')
      return node
    },
    transformResult: async ({ result }) => result,
  })
  const { feed, watch } = await givenFeed({ uncheckedMs: 15_000 }, { db })
  const reader = await watch(rolloutId)
  await reader.until(({ events }) => events().length === 1)
  isAway = true
  await feed.tick()
  expect(feed.size).toBe(1)
  world.clock.advance({ seconds: 16 })
  await feed.tick()
  await reader.until(({ ended }) => ended())
  expect(reader.events().map(({ event }) => event)).toEqual(['snapshot', 'end'])
})

test('who may not, is told why', async () => {
  const { rolloutId } = await givenStarted(world, 1)
  const path = `/rollouts/${rolloutId}/events`
  expect((await api.call('GET', path, undefined, { key: '' })).status).toBe(401)
  const foreign = await api.call('GET', path, undefined, {
    headers: { Origin: 'https://elsewhere.example' },
  })
  expect(foreign).toMatchObject({ status: 403, body: { code: 'not-allowed' } })
  const none = '0192f3c4-7d1e-7c3a-9b5e-2f60a1c4d7e8'
  expect((await api.call('GET', `/rollouts/${none}/events`)).status).toBe(404)
  const own = await watchApi(rolloutId, { origin: api.url })
  expect(own.status).toBe(200)
  const head = await api.call('HEAD', path)
  expect(head.status).toBe(200)
})
