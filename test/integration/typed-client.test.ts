import { afterAll, beforeAll, expect, test } from 'vitest'

import { createApi } from '../../client/client.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

/* The client that is made from the description of the interface, against a server. */

let handle: DatabaseHandle
let server: TestApi

beforeAll(async () => {
  handle = await createTestDatabase()
  server = await startApi(handle)
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const apiWith = (send?: (request: Request) => Promise<Response>) =>
  createApi({
    server: server.url,
    apiKey: server.keys.admin.secret,
    ...(send ? { fetch: send } : {}),
  })

test('what is answered has the types of the description, a refusal too', async () => {
  const api = apiWith()
  const made = await api.POST('/groups', { body: { name: 'typed' } })
  const groupId = made.data?.id ?? ''
  expect(made.data).toMatchObject({ name: 'typed', deviceCount: 0 })
  const read = await api.GET('/groups/{groupId}', { params: { path: { groupId } } })
  expect(read.data).toEqual(made.data)
  const listed = await api.GET('/groups', { params: { query: { name: 'typed', limit: 1 } } })
  expect(listed.data?.items.map(({ id }) => id)).toEqual([groupId])
  const stale = await api.PATCH('/groups/{groupId}', {
    params: { path: { groupId }, header: { 'If-Match': '"0"' } },
    body: { description: 'x' },
  })
  expect(stale.data).toBeUndefined()
  expect(stale.error?.code).toBe('precondition-failed')
  // @ts-expect-error -- there is no such path
  const nothing = await api.GET('/grops')
  expect(nothing.response.status).toBe(404)
})

test('an answer that was lost is asked for again, and what was to be made is made once', async () => {
  let calls = 0
  const api = apiWith(async (request) => {
    const response = await fetch(request)
    calls += 1
    if (calls > 1) return response
    await response.body?.cancel()
    throw new TypeError('the connection broke')
  })
  const { data } = await api.POST('/groups', { body: { name: 'once' } })
  expect(calls).toBe(2)
  const { data: found } = await api.GET('/groups', { params: { query: { name: 'once' } } })
  expect(found?.items.map(({ id }) => id)).toEqual([data?.id])
})

test('an action is not repeated by itself', async () => {
  let calls = 0
  const api = apiWith(async () => {
    calls += 1
    throw new TypeError('the connection broke')
  })
  const act = api.POST('/groups/{groupId}/actions', {
    params: { path: { groupId: crypto.randomUUID() } },
    body: { action: 'disable', reason: 'found one opened' },
  })
  await expect(act).rejects.toThrow('the connection broke')
  expect(calls).toBe(1)
})
