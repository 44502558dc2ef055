import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

import { afterEach, beforeEach, expect, test } from 'vitest'

import type { OpenArtifact } from '../../server/artifacts/storage.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  type DdiWorld,
  ddiWorld,
  givenClient,
  givenPollingDevice,
  givenUpdate,
} from '../support/ddi-world.ts'

// A polling client says that it follows with the same header as every other device; none does unless it is told to.
const file = '/softwaremodules/1000000001/artifacts/gate.swu'
const follow = { Prefer: 'respond-redirect' }

let handle: DatabaseHandle
let world: DdiWorld
let store: Server
let asked: (string | undefined)[]
beforeEach(async () => {
  handle = await createTestDatabase()
  world = await ddiWorld(handle)
  asked = []
  store = createServer((request, response) => {
    asked.push(request.headers.range)
    response.end('from the store')
  })
  await new Promise<void>((resolve) => void store.listen(0, '127.0.0.1', resolve))
  const { port } = store.address() as AddressInfo
  const { open } = world.ctx.storage
  world.ctx.storage.open = async (sha256) => {
    const artifact: OpenArtifact | undefined = await open(sha256)
    return artifact && { ...artifact, link: async () => `http://127.0.0.1:${port}/${sha256}` }
  }
  await givenClient(world, 'rauc')
})
afterEach(async () => {
  store.closeAllConnections()
  await new Promise((resolve) => store.close(resolve))
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

test('a client that asks is sent to the store, and what it does is known as ever', async () => {
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  await device.links()
  const { status, bytes } = await device.call('GET', file, undefined, {
    ...follow,
    Range: 'bytes=5-',
  })
  expect([status, String(bytes)]).toEqual([200, 'from the store'])
  expect(asked).toEqual(['bytes=5-'])
  expect(await update.state()).toBe('downloading')
})

test('a client that does not ask gets the bytes from here', async () => {
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  await device.links()
  const { status, bytes } = await device.call('GET', file)
  expect([status, bytes.equals(update.image)]).toEqual([200, true])
  expect(asked).toEqual([])
})

test('a client that has nothing to install is told that there is nothing, though it asks', async () => {
  const device = await givenPollingDevice(world)
  expect((await device.call('GET', file, undefined, follow)).status).toBe(404)
  expect(asked).toEqual([])
})
