import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { hashToken } from '../../server/enrollment/service.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

let handle: DatabaseHandle
let api: TestApi
let groupId: string
beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
  groupId = String((await api.call('POST', '/api/v1/groups', { name: 'line 1' })).body['id'])
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

let count = 0
const bodyOf = (more: object = {}) => ({
  name: `line-${(count += 1)}`,
  groupId,
  auth: { type: 'token' },
  registration: 'just-in-time',
  ...more,
})
const create = async (more: object = {}) =>
  await api.call('POST', '/api/v1/enrollment-profiles', bodyOf(more))

describe('enrollment profiles', () => {
  test('are made, shown and listed', async () => {
    const { status, body } = await create({ idPattern: '^SN-\\d+$', quota: 5, certificateDays: 30 })
    expect(status).toBe(201)
    expect(body).toMatchObject({
      groupId,
      registration: 'just-in-time',
      idPattern: '^SN-\\d+$',
      quota: 5,
      used: 0,
      certificateDays: 30,
      approval: 'none',
    })
    const path = `/api/v1/enrollment-profiles/${String(body['id'])}`
    const { webhookSecret, ...shown } = body
    expect(webhookSecret).toBeNull()
    expect((await api.call('GET', path)).body).toEqual(shown)
    const list = await api.call('GET', '/api/v1/enrollment-profiles?limit=1')
    expect(list.body.items).toEqual([shown])
  })

  test.each([
    ['certificates without anchors', { auth: { type: 'certificate' } }, 'auth.trustAnchors'],
    [
      'anchors that are no certificates',
      { auth: { type: 'certificate', trustAnchors: ['x'] } },
      'auth.trustAnchors.0',
    ],
    ['a webhook without TLS', { webhook: { url: 'http://example.com/' } }, 'webhook.url'],
    ['a webhook inside', { webhook: { url: 'https://10.1.2.3/' } }, 'webhook.url'],
    ['a webhook inside, in hex', { webhook: { url: 'https://0x7f000001/' } }, 'webhook.url'],
    ['a webhook inside, by IPv6', { webhook: { url: 'https://[::ffff:7f00:1]/' } }, 'webhook.url'],
    ['a webhook with a password', { webhook: { url: 'https://u:p@example.com/' } }, 'webhook.url'],
    ['a pattern that is not anchored', { idPattern: 'SN' }, 'idPattern'],
    ['a pattern with groups', { idPattern: '^(a+)+$' }, 'idPattern'],
    [
      'an end before the beginning',
      { validFrom: '2030-01-01T00:00:00Z', validUntil: '2029-01-01T00:00:00Z' },
      'validUntil',
    ],
    ['a name that is an EST operation', { name: 'cacerts' }, 'name'],
    ['a name with a slash', { name: 'a/b' }, 'name'],
    ['a key that does not exist', { keyPolicy: ['RSA-1024'] }, 'keyPolicy.0'],
    ['a field we do not know', { grace: 7 }, ''],
  ])('%s is refused, and said which field', async (_what, more, at) => {
    const { status, body } = await create(more)
    expect([status, body['code']]).toEqual([400, 'invalid-request'])
    expect(body['issues']).toEqual(expect.arrayContaining([expect.objectContaining({ at })]))
  })

  test('need a group and a free name', async () => {
    const made = await create()
    expect((await create({ name: made.body['name'] })).status).toBe(409)
    const missing = '00000000-0000-7000-8000-000000000000'
    expect((await create({ groupId: missing })).status).toBe(404)
    const viewer = { key: api.keys.viewer.secret }
    const refused = await api.call('POST', '/api/v1/enrollment-profiles', bodyOf(), viewer)
    expect(refused.status).toBe(403)
  })
})

describe('enrollment tokens', () => {
  test('are shown once, and again to the same request only; stored as a hash', async () => {
    const path = `/api/v1/enrollment-profiles/${String((await create()).body['id'])}/tokens`
    const headers = { 'Idempotency-Key': 'same' }
    const first = await api.call('POST', path, { maxUses: 3 }, { headers })
    const again = await api.call('POST', path, { maxUses: 3 }, { headers })
    expect(first.status).toBe(201)
    expect(again.body).toEqual(first.body)
    const { token, ...rest } = first.body
    expect(String(token)).toMatch(/^fse_[A-Za-z0-9_-]{43}$/)
    const list = await api.call('GET', path)
    expect(list.body.items).toEqual([rest])
    const rows = await handle.db.selectFrom('enrollment_token').selectAll().execute()
    expect(rows.map((row) => row.secret_hash)).toContainEqual(hashToken(String(token)))
    expect(JSON.stringify([rows, api.log()])).not.toContain(token)
    const audit = await handle.db.selectFrom('audit_event').select(['action', 'facts']).execute()
    expect(audit.filter(({ action }) => action === 'enrollment-token.create')).toHaveLength(1)
    expect(JSON.stringify(audit)).not.toContain(token)
  })

  test('end when they are ended', async () => {
    const path = `/api/v1/enrollment-profiles/${String((await create()).body['id'])}/tokens`
    const id = String((await api.call('POST', path, {})).body['id'])
    const other = `/api/v1/enrollment-profiles/${String((await create()).body['id'])}/tokens`
    expect((await api.call('DELETE', `${other}/${id}`)).status).toBe(404)
    for (let n = 0; n < 2; n++) expect((await api.call('DELETE', `${path}/${id}`)).status).toBe(204)
    const [token] = (await api.call('GET', path)).body.items ?? []
    expect(token?.['expiresAt']).not.toBeNull()
  })
})
