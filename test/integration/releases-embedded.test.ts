import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createEmbeddedDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'

let handle: DatabaseHandle
let world: ReleaseWorld
beforeAll(async () => {
  handle = await createEmbeddedDatabase()
  world = await ReleaseWorld.ready(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

test('upload, release, sign, publish, offer and withdraw on the embedded database', async () => {
  const release = await world.publishRelease()
  const device = await world.device()
  await world.deploy(device.id, release)
  expect((await device.poll()).targets).toHaveLength(1)
  expect((await device.poll()).targets).toHaveLength(1)

  const next = await world.publishRelease({ version: '2.4.2', build: 413 })
  await world.act(next, 'withdraw')
  const reply = await world.sign('fw-gate-2', world.keys.release.slice(0, 2))
  expect(reply.body).toMatchObject({ state: 'published', version: 3 })
  expect((await device.poll()).targets).toHaveLength(1)

  await world.ctx.db.updateTable('deployment').set({ state: 'succeeded' }).execute()
  expect((await device.poll()).targets).toEqual([])
  const { items } = await world.call('GET', '/metadata')
  expect(items?.find((item) => item['role'] === 'fw-gate-2')).toMatchObject({
    published: { version: 3 },
    draft: null,
  })
})
