import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { flushEvents } from '../../server/events/record.ts'
import type { Credentials } from '../support/broker-pki.ts'
import { startTestBroker, type TestBroker, until } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'

let handle: DatabaseHandle
let broker: TestBroker
beforeAll(async () => {
  handle = await createTestDatabase()
  broker = await startTestBroker(handle)
})
afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

/** Connects with the same key from these addresses of this machine, one after the other, each while the one before is connected. */
async function connectFrom(credentials: Credentials, addresses: readonly string[]): Promise<void> {
  for (const localAddress of addresses) {
    const device = await broker.open(credentials, { localAddress })
    expect(await device.connect({ clientId: credentials.deviceId })).toBe(0)
    await until(() => broker.broker.transport.isConnected(credentials.deviceId), 'it is known')
  }
}

async function kinds(deviceId: string): Promise<string[]> {
  await flushEvents(broker.ctx)
  return (await broker.events(deviceId)).filter((kind) => kind === 'identity-cloned')
}

const [here, there] = ['127.0.0.1', '127.0.0.2']

test('two that hold the same key and take the session from each other are told, once for all that', async () => {
  const credentials = await broker.device()
  await connectFrom(credentials, [here, there, here, there, here, there])
  expect(await kinds(credentials.deviceId)).toEqual([])
  await connectFrom(credentials, [here, there])
  expect(await kinds(credentials.deviceId)).toEqual(['identity-cloned'])
})

test('a device that moves, and one that connects anew from where it is, is not', async () => {
  const moves = await broker.device()
  await connectFrom(moves, [here, there])
  const stays = await broker.device()
  await connectFrom(
    stays,
    Array.from({ length: 9 }, () => here),
  )
  expect(await kinds(moves.deviceId)).toEqual([])
  expect(await kinds(stays.deviceId)).toEqual([])
})
