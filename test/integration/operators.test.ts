import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { flushEvents } from '../../server/events/record.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

let handle: DatabaseHandle
let api: TestApi

beforeAll(async () => {
  handle = await createTestDatabase()
})
beforeEach(async () => {
  api = await startApi(handle)
})
afterEach(async () => await api[Symbol.asyncDispose]())
afterAll(async () => await handle[Symbol.asyncDispose]())

const createKey = async (body: object, headers: Record<string, string> = {}) =>
  await api.call('POST', '/api-keys', body, { headers })

test('a key says who it belongs to, and its use is noted at most once a minute', async () => {
  const me = async () =>
    await api.call('GET', '/operators/me', undefined, { key: api.keys.viewer.secret })
  const lastUsed = async () => {
    const row = await handle.db
      .selectFrom('api_key')
      .select('last_used_at')
      .where('id', '=', api.keys.viewer.id)
      .executeTakeFirstOrThrow()
    return row.last_used_at?.getTime()
  }
  expect(await me()).toMatchObject({
    status: 200,
    body: { id: `key:${api.keys.viewer.id}`, role: 'viewer' },
  })
  const first = await lastUsed()
  expect(first).toBe(api.ctx.clock.now().getTime())
  api.ctx.clock.advance({ seconds: 30 })
  await me()
  expect(await lastUsed()).toBe(first)
  api.ctx.clock.advance({ seconds: 31 })
  await me()
  expect(await lastUsed()).toBe(api.ctx.clock.now().getTime())
})

test.each([
  ['none', ''],
  ['unknown', `fs_${'A'.repeat(43)}`],
  ['not a key', 'secret'],
  ['too long', `fs_${'A'.repeat(500)}`],
])('no entry with a key that is %s', async (_name, key) => {
  const { status, body, headers } = await api.call('GET', '/groups', undefined, { key })
  expect(status).toBe(401)
  expect(body).toMatchObject({ code: 'not-authenticated' })
  expect(headers.get('www-authenticate')).toContain('Bearer')
  expect(headers.get('content-type')).toContain('application/problem+json')
})

test('a new key works, is shown once, and is stored as a hash only', async () => {
  const made = await createKey({ name: 'ci', role: 'operator' })
  expect(made.status).toBe(201)
  const secret = String(made.body['secret'])
  expect(secret).toMatch(/^fs_[A-Za-z0-9_-]{43}$/)
  expect((await api.call('GET', '/groups', undefined, { key: secret })).status).toBe(200)
  const list = await api.call('GET', '/api-keys')
  expect(list.text).not.toContain(secret)
  expect(list.text).toContain(String(made.body['prefix']))
  const rows = await handle.db.selectFrom('api_key').selectAll().execute()
  expect(JSON.stringify(rows)).not.toContain(secret)
  const audit = await handle.db
    .selectFrom('audit_event')
    .selectAll()
    .where('subject', '=', String(made.body['id']))
    .execute()
  expect(audit.map(({ action, actor }) => [action, actor])).toEqual([
    ['api-key.create', `key:${api.keys.admin.id}`],
  ])
  expect(JSON.stringify(audit)).not.toContain(secret)
})

test('the same Idempotency-Key answers the same key and secret; with another body it is refused', async () => {
  const headers = { 'Idempotency-Key': 'one' }
  const first = await createKey({ name: 'ci', role: 'viewer' }, headers)
  const again = await createKey({ name: 'ci', role: 'viewer' }, headers)
  expect(again.body).toEqual(first.body)
  expect(again.status).toBe(201)
  const other = await createKey({ name: 'ci', role: 'admin' }, headers)
  expect(other).toMatchObject({ status: 422, body: { code: 'idempotency-mismatch' } })
})

test.each(['operator', 'viewer'] as const)(
  'a key with the role %s manages no keys',
  async (role) => {
    const key = api.keys[role].secret
    for (const [method, path, body] of [
      ['GET', '/api-keys', undefined],
      ['POST', '/api-keys', { name: 'x', role: 'admin' }],
      ['DELETE', `/api-keys/${api.keys.viewer.id}`, undefined],
    ] as const) {
      expect((await api.call(method, path, body, { key })).status).toBe(403)
    }
  },
)

test('a revoked key opens nothing from the next request on; revoking again is fine', async () => {
  const { secret, id } = (await createKey({ name: 'x', role: 'viewer' })).body
  const use = async () =>
    (await api.call('GET', '/groups', undefined, { key: String(secret) })).status
  expect(await use()).toBe(200)
  expect((await api.call('DELETE', `/api-keys/${String(id)}`)).status).toBe(204)
  expect(await use()).toBe(401)
  expect((await api.call('DELETE', `/api-keys/${String(id)}`)).status).toBe(204)
  const audit = await handle.db
    .selectFrom('audit_event')
    .select('action')
    .where('subject', '=', String(id))
    .execute()
  expect(audit).toHaveLength(2)
})

test('a key ends at its time; a time that has passed is refused', async () => {
  const inAnHour = new Date(api.ctx.clock.now().getTime() + 3_600_000).toISOString()
  const { secret } = (await createKey({ name: 'x', role: 'viewer', expiresAt: inAnHour })).body
  const use = async () =>
    (await api.call('GET', '/groups', undefined, { key: String(secret) })).status
  expect(await use()).toBe(200)
  api.ctx.clock.advance({ seconds: 3_600 })
  expect(await use()).toBe(401)
  expect((await createKey({ name: 'x', role: 'viewer', expiresAt: inAnHour })).status).toBe(400)
})

test('the last admin key stays, also when two are revoked at the same moment', async () => {
  await handle.db
    .deleteFrom('api_key')
    .where(
      'id',
      'not in',
      Object.values(api.keys).map(({ id }) => id),
    )
    .execute()
  expect(await api.call('DELETE', `/api-keys/${api.keys.admin.id}`)).toMatchObject({
    status: 409,
    body: { code: 'conflict' },
  })
  const second = (await createKey({ name: 'second', role: 'admin' })).body
  const results = await Promise.all([
    api.call('DELETE', `/api-keys/${api.keys.admin.id}`),
    api.call('DELETE', `/api-keys/${String(second['id'])}`),
  ])
  const left = await handle.db
    .selectFrom('api_key')
    .select('id')
    .where('role', '=', 'admin')
    .where('revoked_at', 'is', null)
    .execute()
  expect(left).toHaveLength(1)
  expect(results.filter(({ status }) => status === 204)).toHaveLength(1)
})

test('who guesses is slowed down and recorded, and cannot lock out holders of real keys', async () => {
  const guess = async () =>
    (await api.call('GET', '/groups', undefined, { key: `fs_${'B'.repeat(43)}` })).status
  expect((await api.call('GET', '/groups')).status).toBe(200)
  const statuses: number[] = []
  for (let n = 0; n < 25; n++) statuses.push(await guess())
  expect(statuses.filter((status) => status === 401)).toHaveLength(20)
  expect(statuses.at(-1)).toBe(429)
  expect((await api.call('GET', '/groups')).status).toBe(200)
  await flushEvents(api.ctx)
  const events = (await api.call('GET', '/events?kind=api-rate-limited')).body.items ?? []
  expect(events).toHaveLength(1)
  api.ctx.clock.advance({ seconds: 4 })
  expect(await guess()).toBe(401)
})
