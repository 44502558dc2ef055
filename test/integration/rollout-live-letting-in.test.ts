import { EventEmitter } from 'node:events'

import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { LiveRollouts } from '../../server/rollouts/live.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenStarted } from '../support/rollout-given.ts'
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

/** As node:http has it: what is written first sends the headers, and they can be set no more. */
class Answer extends EventEmitter {
  headersSent = false
  writableEnded = false
  written = ''
  status = () => this
  type = () => this
  setHeader = () => {
    if (this.headersSent) throw new Error('Cannot set headers after they are sent')
  }
  flushHeaders = () => (this.headersSent = true)
  write = (text: string) => {
    this.headersSent = true
    this.written += text
  }
}

test('a look that is made while a reader is let in sends it nothing before its beginning', async () => {
  const [first, second] = [await givenStarted(world, 1), await givenStarted(world, 1)]
  const held = Promise.withResolvers<void>()
  let reads = Number.NEGATIVE_INFINITY
  const db = handle.db.withPlugin({
    transformQuery: ({ node }) => node,
    transformResult: async ({ result }) => {
      // The second question of whoever asks first.
      if (++reads === 2) await held.promise
      return result
    },
  })
  const feed = new LiveRollouts({ ...world.ctx, db }, { everyMs: 3_600_000 })
  const actor = `key:${api.keys.viewer.id}`
  const [before, late] = [new Answer(), new Answer()]
  const right = { actor, permission: 'rollouts:read', reach: 'fleet' } as const
  await feed.watch({ rolloutId: first.rolloutId, ...right, res: before as never })
  reads = 0
  const coming = feed.watch({ rolloutId: second.rolloutId, ...right, res: late as never })
  await expect.poll(() => reads, { timeout: 60_000 }).toBe(2)
  await feed.tick()
  expect(late.written).toBe('')
  held.resolve()
  await coming
  expect(late.written).toMatch(/^retry: 2000\n\nid: [0-9a-f]{16}\nevent: snapshot\n/)
})
