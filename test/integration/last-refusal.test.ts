import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { eventMessages } from '../../server/events/messages.ts'
import { type TestApi, startApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenOne } from '../support/rollout-given.ts'
import { report } from '../support/rollout-messages.ts'
import { rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let api: TestApi
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
  api = await startApi(handle, { clock: world.clock })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const shown = async (id: string) => (await api.call('GET', `/devices/${id}`)).body['lastRefusal']

async function event(deviceId: string, body: Record<string, unknown>): Promise<void> {
  const handler = eventMessages.find(({ leaf }) => leaf === 'event')
  const parsed = handler?.parse(Buffer.from(JSON.stringify(body)))
  if (!handler || !parsed) throw new Error('malformed')
  // Ids of one instant are in no order.
  world.clock.advance({ seconds: 1 })
  const now = world.clock.now()
  const messages = [{ deviceId, body: parsed.body }]
  await inTransaction(world.db, (tx) => handler.store({ tx, ctx: world.ctx, now, messages }))
}

test('a refused bundle that belongs to no task shows on the device with its attack code', async () => {
  const { device } = await givenOne(world)
  const at = '2026-11-26T10:00:00Z'
  expect(await shown(device)).toBeNull()
  await event(device, { kind: 'delivery-fallback', detail: 'freeze: no', at })
  expect(await shown(device)).toBeNull()
  await event(device, { kind: 'update-refused', detail: 'freeze: It has expired: 2026', at })
  expect(await shown(device)).toMatchObject({
    code: 'freeze',
    detail: 'It has expired: 2026',
    deploymentId: null,
  })
  // Not what somebody else makes of it.
  await event(device, { kind: 'update-refused', detail: 'A text without a code', at })
  expect(await shown(device)).toMatchObject({ code: null, detail: 'A text without a code' })
})

test('a refused update shows with its deployment, and is not in the list', async () => {
  const { device, id } = await givenOne(world)
  await report(world, device, id, 'failed_final', { code: 'wrong-hardware', detail: 'No such id' })
  expect(await shown(device)).toMatchObject({ code: 'wrong-hardware', deploymentId: id })
  const { body } = await api.call('GET', '/devices?limit=1')
  expect(body.items?.[0]?.['lastRefusal']).toBeUndefined()
})
