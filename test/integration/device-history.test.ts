import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenOne } from '../support/rollout-given.ts'
import { report } from '../support/rollout-messages.ts'
import { rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

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

test('what was given to a device, with its own words when something went wrong', async () => {
  const { device, id, rolloutId } = await givenOne(world)
  const path = `/devices/${device}/deployments`
  const before = await api.call('GET', path)
  expect(before.body.items).toMatchObject([{ id, rolloutId, state: 'queued', said: [] }])
  await report(world, device, id, 'failed_final', { code: 'no-space', detail: 'disk is full' })
  const { body } = await api.call('GET', path)
  expect(body).toMatchObject({
    nextCursor: null,
    items: [
      {
        id,
        rolloutName: 'Spring update',
        state: 'failed_final',
        said: [{ state: 'failed_final', code: 'no-space', detail: 'disk is full' }],
      },
    ],
  })
})

test('no such device, and one that was never given anything', async () => {
  const none = '0192f3c4-7d1e-7c3a-9b5e-2f60a1c4d7e8'
  expect((await api.call('GET', `/devices/${none}/deployments`)).status).toBe(404)
})
