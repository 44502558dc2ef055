import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

let handle: DatabaseHandle
let api: TestApi
let path: string
let profileId: string
beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
  const group = await api.call('POST', '/api/v1/groups', { name: 'line 1' })
  const profile = await api.call('POST', '/api/v1/enrollment-profiles', {
    name: 'line-1',
    groupId: group.body['id'],
    auth: { type: 'token' },
    registration: 'just-in-time',
    keyPolicy: ['P-256'],
  })
  profileId = String(profile.body['id'])
  path = `/api/v1/enrollment-profiles/${profileId}/est`
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const audits = async () =>
  await handle.db
    .selectFrom('audit_event')
    .select('facts')
    .where('action', '=', 'enrollment-profile.est-policy')
    .where('subject', '=', profileId)
    .execute()

describe('the EST policy of a profile', () => {
  test('has defaults, is set as a whole, and the same again changes nothing', async () => {
    const before = await api.call('GET', path)
    expect(before.body).toMatchObject({
      renewal: { opensPercent: 60, jitterPercent: 15, graceDays: 0, key: 'any' },
      csrAttributes: null,
      channelBinding: 'optional',
      serverKey: null,
      changedAt: null,
    })
    const body = {
      renewal: { opensPercent: 50, graceDays: 7, issuedBefore: '2030-01-01T00:00:00Z' },
      csrAttributes: 'MAA=',
      serverKey: 'P-256',
    }
    const set = await api.call('PUT', path, body)
    expect(set.body).toMatchObject({
      renewal: {
        opensPercent: 50,
        jitterPercent: 15,
        graceDays: 7,
        issuedBefore: '2030-01-01T00:00:00.000Z',
      },
      csrAttributes: 'MAA=',
      serverKey: 'P-256',
    })
    expect((await api.call('PUT', path, body)).body).toEqual(set.body)
    expect((await api.call('GET', path)).body).toEqual(set.body)
    expect(await audits()).toHaveLength(1)
    expect((await api.call('PUT', path, {})).body).toMatchObject({ serverKey: null })
    expect(await audits()).toHaveLength(2)
  })

  test.each([
    ['a window past the life', { renewal: { opensPercent: 91 } }],
    ['a negative grace', { renewal: { graceDays: -1 } }],
    ['an unknown rule', { renewal: { key: 'maybe' } }],
    ['an unknown field', { renewal: { opens: 50 } }],
    ['attributes that are no DER', { csrAttributes: 'AAAA' }],
    ['a key that the profile does not allow', { serverKey: 'RSA-2048' }],
    ['an unknown kind of key', { serverKey: 'RSA-1024' }],
  ])('is refused with %s', async (_what, body) => {
    const answer = await api.call('PUT', path, body)
    expect([answer.status, answer.body['code']]).toEqual([400, 'invalid-request'])
  })

  test('belongs to a profile that exists', async () => {
    const nowhere = '/api/v1/enrollment-profiles/00000000-0000-4000-8000-000000000000/est'
    expect((await api.call('GET', nowhere)).status).toBe(404)
    expect((await api.call('PUT', nowhere, {})).status).toBe(404)
  })
})
