import { afterAll, beforeAll, expect, test } from 'vitest'

import { loadConfig } from '../../server/config.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

/* How often one credential may ask: told on every answer, refused with when to come back, and nobody else's loss. */

const inSixSeconds = 12
let handle: DatabaseHandle
let api: TestApi

beforeAll(async () => {
  handle = await createTestDatabase()
  const config = loadConfig({
    FLEETSEAL_DATA_DIR: '/nonexistent',
    FLEETSEAL_API_RATE: String(inSixSeconds / 6),
  })
  api = await startApi(handle, { config })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const me = async (key: string) => await api.call('GET', '/operators/me', undefined, { key })

test('one key that asks too much is refused, and another one is not', async () => {
  const { admin, viewer } = api.keys
  const first = await me(admin.secret)
  expect(first.headers.get('ratelimit')).toMatch(/^"api"; r=\d+; t=\d+$/)
  expect(first.headers.get('ratelimit-policy')).toMatch(
    new RegExp(`^"api"; q=${inSixSeconds}; w=6; pk=:[A-Za-z0-9+/=]+:$`),
  )
  // More than fit into the windows that a slow machine may take for it.
  const replies = await Promise.all(Array.from({ length: 120 }, async () => await me(admin.secret)))
  const refused = replies.filter(({ status }) => status === 429)
  expect(refused.length).toBeGreaterThan(0)
  expect(refused[0]?.body).toMatchObject({ code: 'rate-limited' })
  expect(Number(refused[0]?.headers.get('retry-after'))).toBeGreaterThan(0)
  expect(refused[0]?.headers.get('ratelimit')).toMatch(/^"api"; r=0; t=\d+$/)
  expect(replies.every(({ status }) => status === 200 || status === 429)).toBe(true)
  expect((await me(viewer.secret)).status).toBe(200)
  // What is refused for want of a key is not counted against anybody's.
  expect((await me('')).headers.get('ratelimit')).toBeNull()
})
