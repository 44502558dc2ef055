import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

let handle: DatabaseHandle
let api: TestApi
let path: string
beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
  const group = await api.call('POST', '/api/v1/groups', { name: 'pumps' })
  const auth = { type: 'token' }
  const profile = { name: 'pumps', groupId: group.body['id'], auth, registration: 'just-in-time' }
  const { body } = await api.call('POST', '/api/v1/enrollment-profiles', profile)
  path = `/api/v1/enrollment-profiles/${String(body['id'])}`
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const audited = async (action: string) => {
  const rows = await handle.db
    .selectFrom('audit_event')
    .selectAll()
    .where('action', '=', action)
    .execute()
  return rows.length
}

test('SCEP is off until somebody says otherwise, and old algorithms one by one', async () => {
  const before = await api.call('GET', `${path}/scep`)
  expect(before.body).toMatchObject({ enabled: false, allowSha1: false, changedAt: null })
  const body = { enabled: true, allowSha1: true }
  const set = await api.call('PUT', `${path}/scep`, body)
  expect([set.status, set.body]).toEqual([
    200,
    expect.objectContaining({ ...body, allowTripleDes: false, allowBer: false }),
  ])
  expect(String(set.body['url'])).toMatch(/^https:\/\/localhost:\d+\/scep\/pumps$/)
  await api.call('PUT', `${path}/scep`, body)
  expect(await audited('enrollment-profile.scep')).toBe(1)
  expect((await api.call('GET', `${path}/scep`)).body).toEqual(set.body)
  for (const wrong of [{}, { enabled: 'yes' }, { enabled: true, allowMd5: true }]) {
    expect((await api.call('PUT', `${path}/scep`, wrong)).status).toBe(400)
  }
  const viewer = { key: api.keys.viewer.secret }
  expect((await api.call('PUT', `${path}/scep`, body, viewer)).status).toBe(403)
})

test('a challenge is shown once, for one device, and can be ended', async () => {
  const request = { serialNumber: 'PUMP-1', validMinutes: 10 }
  const headers = { 'Idempotency-Key': 'challenge-1' }
  const made = await api.call('POST', `${path}/scep-challenges`, request, { headers })
  expect([made.status, made.body]).toEqual([
    201,
    expect.objectContaining({ serialNumber: 'PUMP-1', isUsed: false }),
  ])
  const { challenge, url: _, ...shown } = made.body
  expect(challenge).toMatch(/^[0-9a-f]{32}$/)
  const again = await api.call('POST', `${path}/scep-challenges`, request, { headers })
  expect(again.body).toEqual(made.body)
  const list = await api.call('GET', `${path}/scep-challenges`)
  expect(list.body.items).toEqual([shown])
  expect(list.text).not.toContain(challenge)
  expect(JSON.stringify(api.log())).not.toContain(challenge)
  // It is no token, and is not listed as one.
  expect((await api.call('GET', `${path}/tokens`)).body.items).toEqual([])
  for (const wrong of [{}, { serialNumber: '' }, { ...request, validMinutes: 0 }]) {
    expect((await api.call('POST', `${path}/scep-challenges`, wrong)).status).toBe(400)
  }
  const one = `${path}/scep-challenges/${String(made.body['id'])}`
  expect((await api.call('DELETE', one)).status).toBe(204)
  const [ended] = (await api.call('GET', `${path}/scep-challenges`)).body.items ?? []
  expect(Date.parse(String(ended?.['expiresAt']))).toBeLessThanOrEqual(
    api.ctx.clock.now().getTime(),
  )
  expect(await audited('enrollment-challenge.create')).toBe(1)
})
