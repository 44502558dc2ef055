import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

let handle: DatabaseHandle
let api: TestApi

beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const make = async (more: object = {}) => {
  const body = { name: 'ci', role: 'viewer', ...more }
  const { status, body: key } = await api.call('POST', '/api-keys', body)
  expect(status).toBe(201)
  return { id: String(key['id']), secret: String(key['secret']) }
}
const works = async (key: string) => {
  api.ctx.clock.advance({ seconds: 5 })
  return (await api.call('GET', '/groups', undefined, { key })).status === 200
}
const rotate = async (id: string, body: object = {}, headers: Record<string, string> = {}) =>
  await api.call('POST', `/api-keys/${id}/rotation`, body, { headers })

test('after a rotation the old secret works for the overlap, which is shown, and then no more', async () => {
  const { id, secret } = await make()
  const { status, body } = await rotate(id, { overlapHours: 2 })
  expect(status).toBe(201)
  expect(body).toMatchObject({ id, name: 'ci', role: 'viewer' })
  const next = String(body['secret'])
  expect(next).not.toBe(secret)
  expect(next.startsWith(String(body['prefix']))).toBe(true)
  const now = api.ctx.clock.now().getTime()
  expect(Date.parse(String(body['overlapEndsAt']))).toBeGreaterThan(now + 7_100_000)
  expect([await works(secret), await works(next)]).toEqual([true, true])
  api.ctx.clock.advance({ seconds: 7_200 })
  expect([await works(secret), await works(next)]).toEqual([false, true])
  const rows = JSON.stringify(await handle.db.selectFrom('api_key').selectAll().execute())
  expect(rows).not.toContain(next)
})

test('without an overlap the old secret ends at once, and a second rotation ends the first one', async () => {
  const { id, secret } = await make()
  const one = String((await rotate(id, { overlapHours: 0 })).body['secret'])
  expect([await works(secret), await works(one)]).toEqual([false, true])
  const two = String((await rotate(id)).body['secret'])
  const three = String((await rotate(id)).body['secret'])
  expect([await works(one), await works(two), await works(three)]).toEqual([false, true, true])
})

test('the same Idempotency-Key answers the same secret and rotates once', async () => {
  const { id, secret } = await make()
  const headers = { 'Idempotency-Key': 'rotate-once' }
  const [first, again] = [await rotate(id, {}, headers), await rotate(id, {}, headers)]
  expect(again.body).toEqual(first.body)
  expect(await works(secret)).toBe(true)
  const audit = await handle.db
    .selectFrom('audit_event')
    .select('facts')
    .where('subject', '=', id)
    .where('action', '=', 'api-key.rotate')
    .execute()
  expect(audit).toHaveLength(1)
  expect(JSON.stringify(audit)).not.toContain(String(first.body['secret']))
  const newest = String((await rotate(id)).body['secret'])
  expect((await rotate(id, {}, headers)).status).toBe(409)
  expect(await works(newest)).toBe(true)
})

test('a revoked key, one that has ended and one that is not there are not rotated', async () => {
  const { id, secret } = await make()
  await api.call('DELETE', `/api-keys/${id}`)
  expect((await rotate(id)).status).toBe(409)
  expect(await works(secret)).toBe(false)
  const soon = new Date(api.ctx.clock.now().getTime() + 60_000).toISOString()
  const short = await make({ expiresAt: soon })
  api.ctx.clock.advance({ seconds: 60 })
  expect((await rotate(short.id)).status).toBe(409)
  expect((await rotate('01900000-0000-7000-8000-000000000000')).status).toBe(404)
})

test('revoking ends both secrets', async () => {
  const { id, secret } = await make()
  const next = String((await rotate(id)).body['secret'])
  await api.call('DELETE', `/api-keys/${id}`)
  expect([await works(secret), await works(next)]).toEqual([false, false])
})

test('nobody rotates a key that may do what he may not', async () => {
  await api.call('POST', '/roles', { name: 'hr', permissions: ['operators:manage', 'self:read'] })
  const hr = await make({ role: 'hr' })
  const path = `/api-keys/${api.keys.admin.id}/rotation`
  expect((await api.call('POST', path, {}, { key: hr.secret })).status).toBe(403)
  expect(await works(api.keys.admin.secret)).toBe(true)
})

test('the keys of somebody stop when he is disabled, and go on when he is back', async () => {
  const person = { name: 'Ada', email: 'ada@example.com' }
  const ownerId = String((await api.call('POST', '/people', person)).body['id'])
  const { id, secret } = await make({ ownerId })
  const free = await make()
  const act = async (action: string) =>
    await api.call('POST', `/people/${ownerId}/actions`, { action, reason: 'test' })
  expect(await works(secret)).toBe(true)
  await act('disable')
  expect([await works(secret), await works(free.secret)]).toEqual([false, true])
  const other = { name: 'x', role: 'viewer', ownerId }
  expect((await api.call('POST', '/api-keys', other)).status).toBe(409)
  await act('enable')
  expect(await works(secret)).toBe(true)
  const { items = [] } = (await api.call('GET', '/api-keys')).body
  expect(items.find((key) => key['id'] === id)).toMatchObject({ ownerId })
  const stranger = '01900000-0000-7000-8000-000000000000'
  expect((await api.call('POST', '/api-keys', { ...other, ownerId: stranger })).status).toBe(404)
})
