import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  type DdiWorld,
  ddiWorld,
  givenClient,
  givenPollingDevice,
  givenUpdate,
} from '../support/ddi-world.ts'

let handle: DatabaseHandle
let world: DdiWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ddiWorld(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

test.each([
  ['without the version', { mode: 'merge', data: { site: 'roof' } }],
  ['without anything', { data: {} }],
  ['that is not readable', '{"data": {"swVersion": "1.0.0"'],
])(
  'what a device said of itself before its update is no word about it: attributes %s',
  async (_, body) => {
    await givenClient(world, 'swupdate')
    const device = await givenPollingDevice(world)
    await device.says('1.0.0')
    const update = await givenUpdate(device)
    expect(await device.links()).toEqual(['deploymentBase'])
    await device.tell('proceeding')
    await device.tell('closed', 'success')
    expect(await update.state()).toBe('testing')
    expect((await device.call('PUT', '/configData', body)).status).toBe(200)
    expect(await update.state()).toBe('testing')
    await device.says(update.version)
    expect(await update.state()).toBe('succeeded')
  },
)

test('what it says of itself after its update is', async () => {
  await givenClient(world, 'swupdate')
  const device = await givenPollingDevice(world)
  await device.says('1.0.0')
  const update = await givenUpdate(device)
  await device.links()
  await device.tell('closed', 'success')
  await device.says('1.0.0')
  expect(await update.state()).toBe('rolled_back')
})
