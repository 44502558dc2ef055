import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { sumRefusals } from '../../server/audit/refusals.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

/* What callers who are known were refused is recorded too, before they are told. */
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

const nobody = '0198c0de-0000-7000-8000-000000000000'

async function rowsOf(requestId: string): Promise<Record<string, unknown>[]> {
  const { rows } = await sql<Record<string, unknown>>`
    select actor, action, subject, facts, origin from audit_event where request_id = ${requestId}`.execute(
    handle.db,
  )
  return rows
}

const as = (requestId: string, key?: string) => ({
  headers: { 'X-Request-Id': requestId, 'User-Agent': 'a test' },
  ...(key === undefined ? {} : { key }),
})

test('what a role may not do', async () => {
  const { viewer } = api.keys
  const path = `/api-keys/${nobody}`
  expect((await api.call('DELETE', path, undefined, as('refused-1', viewer.secret))).status).toBe(
    403,
  )
  expect(await rowsOf('refused-1')).toEqual([
    {
      actor: `key:${viewer.id}`,
      action: 'access.refuse',
      subject: nobody,
      facts: {
        method: 'DELETE',
        route: '/api/v1/api-keys/:keyId',
        ids: [nobody],
        code: 'not-allowed',
        needs: 'operators:manage',
      },
      origin: { address: '127.0.0.1', credential: 'api-key', userAgent: 'a test' },
    },
  ])
  expect((await api.call('GET', '/audit', undefined, as('refused-2', viewer.secret))).status).toBe(
    403,
  )
  expect(await rowsOf('refused-2')).toMatchObject([{ subject: '/api/v1/audit' }])
})

test('a change that was not made, without what its body said', async () => {
  const secret = 'hunter2-hunter2'
  const made = await api.call('POST', '/groups', { name: '', [secret]: secret }, as('refused-3'))
  expect(made.status).toBe(400)
  const rows = await rowsOf('refused-3')
  expect(rows).toMatchObject([{ action: 'change.refuse', facts: { code: 'invalid-request' } }])
  expect(JSON.stringify(rows)).not.toContain(secret)
  expect((await api.call('DELETE', `/groups/${nobody}`, undefined, as('refused-4'))).status).toBe(
    404,
  )
  expect(await rowsOf('refused-4')).toMatchObject([
    {
      action: 'change.refuse',
      subject: '/api/v1/groups/:groupId',
      facts: { code: 'not-found', ids: [nobody] },
    },
  ])
  expect((await api.call('POST', '/groups', 'no json', as('refused-5'))).status).toBe(400)
  expect(await rowsOf('refused-5')).toHaveLength(1)
})

test('a key that opens nothing any more, and none that nobody knows', async () => {
  const made = await api.call('POST', '/api-keys', { name: 'old', role: 'admin' })
  const { id, secret } = made.body
  await api.call('DELETE', `/api-keys/${String(id)}`)
  expect(
    (await api.call('GET', '/groups', undefined, as('refused-6', String(secret)))).status,
  ).toBe(401)
  expect(await rowsOf('refused-6')).toMatchObject([
    {
      actor: `key:${String(id)}`,
      action: 'authentication.refuse',
      facts: { reason: 'revoked-key', code: 'not-authenticated' },
    },
  ])
  const guess = `fs_${'a'.repeat(43)}`
  expect((await api.call('GET', '/groups', undefined, as('refused-7', guess))).status).toBe(401)
  expect(await rowsOf('refused-7')).toEqual([])
})

test('what was read, and what was not there to be read, is no refusal', async () => {
  expect((await api.call('GET', '/groups', undefined, as('refused-8'))).status).toBe(200)
  expect((await api.call('GET', `/groups/${nobody}`, undefined, as('refused-9'))).status).toBe(404)
  expect([...(await rowsOf('refused-8')), ...(await rowsOf('refused-9'))]).toEqual([])
})

test('a flood is summed: each refusal is counted, few are rows', async () => {
  const { signer } = api.keys
  const total = 100
  for (let n = 0; n < total; n++)
    await api.call('POST', '/groups', { name: 'x' }, { key: signer.secret })
  await sumRefusals(api.ctx)
  await sumRefusals(api.ctx)
  const { rows } = await sql<{ rows: number; suppressed: number }>`
    select count(*) filter (where subject <> 'several') as rows, coalesce(sum((facts ->> 'suppressed')::int), 0) as suppressed
    from audit_event where actor = ${`key:${signer.id}`}`.execute(handle.db)
  const [found] = rows
  expect(Number(found?.rows) + Number(found?.suppressed)).toBe(total)
  expect(Number(found?.rows)).toBeLessThan(total)
})
