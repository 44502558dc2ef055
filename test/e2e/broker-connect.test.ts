import { sql } from 'kysely'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'

import { connectPostgres, type DatabaseHandle } from '../../server/db/client.ts'
import { reportTopic, startTestBroker, type TestBroker, until } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  connectFrame,
  disconnectFrame,
  pingFrame,
  publishFrame,
  type RawDevice,
  subscribeFrame,
  types,
} from '../support/raw-device.ts'

// How a CONNECT ends: without the database, in order, and with nothing left over (server/mqtt/direct.ts; broker.md §7, 49).
let handle: DatabaseHandle
let broker: TestBroker
beforeAll(async () => {
  handle = await createTestDatabase()
  broker = await startTestBroker(handle)
})
afterEach(() => {
  broker.directory.beforeCheck = async () => {}
})
afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

test('49: a device that memory knows needs no statement before CONNACK, one that has to be looked up does', async () => {
  if (handle.kind !== 'postgres') throw new Error('A pool that can be ended is needed')
  const ended = connectPostgres(handle.url)
  await using without = await startTestBroker(ended)
  const known = await without.device()
  const unknown = await without.device()
  without.directory.forgotten.add(unknown.fingerprint)
  without.directory.beforeCheck = async () => void (await sql`select 1`.execute(ended.db))
  await ended[Symbol.asyncDispose]()
  const refused = await without.open(unknown)
  expect(await refused.connect({ clientId: unknown.deviceId })).toBe(3)
  const device = await without.open(known)
  expect(await device.connect({ clientId: known.deviceId })).toBe(0)
  expect(await device.isAlive()).toBe(true)
  await device.close()
})

describe('what arrives before CONNACK', () => {
  const greeting = (deviceId: string) => [
    subscribeFrame([`fleetseal/v1/${deviceId}/#`]),
    publishFrame({ topic: `fleetseal/v1/${deviceId}/report`, payload: '{"n":1}', id: 7 }),
    publishFrame({ topic: `fleetseal/v1/${deviceId}/report`, payload: '{"n":2}', id: 8 }),
    pingFrame,
  ]
  const answers = async (device: RawDevice) => {
    await until(() => device.received.length === 5 || device.socket.destroyed, 'all is answered')
    return device.received.map(({ type }) => type)
  }

  test('in the same write is answered after it, and stored in order', async () => {
    const { deviceId, ...credentials } = await broker.device()
    const device = await broker.open(credentials)
    device.send(connectFrame({ clientId: deviceId }), ...greeting(deviceId))
    const [first, ...others] = await answers(device)
    expect(first).toBe(types.connack)
    expect(others.toSorted((a, b) => a - b)).toEqual([
      types.puback,
      types.puback,
      types.suback,
      types.pingresp,
    ])
    expect(await broker.stored(deviceId)).toEqual([1, 2])
    await device.close()
  })

  test('while the status is looked up waits for it, and is lost when it is refused', async () => {
    for (const isAllowed of [true, false]) {
      const credentials = await broker.device()
      const { deviceId, fingerprint } = credentials
      const { promise: looked, resolve: goOn } = Promise.withResolvers<void>()
      broker.directory.forgotten.add(fingerprint)
      broker.directory.beforeCheck = async () => await looked
      const device = await broker.open(credentials)
      device.send(connectFrame({ clientId: deviceId }))
      await until(() => broker.ctx.connections.has(deviceId), 'CONNECT is being looked at')
      for (const frame of greeting(deviceId)) device.send(frame)
      if (!isAllowed) broker.directory.refuse(credentials, 'device-disabled')
      goOn()
      if (isAllowed) expect((await answers(device))[0]).toBe(types.connack)
      else expect(await device.connack()).toBe(5)
      if (!isAllowed) expect(await device.isClosedWithin(5_000)).toBe(true)
      expect(await broker.stored(deviceId)).toEqual(isAllowed ? [1, 2] : [])
      await device.close()
    }
  })
})

describe('leaving', () => {
  test('by DISCONNECT is no refusal, and the device may come again at once', async () => {
    const credentials = await broker.device()
    for (let n = 0; n < 20; n++) {
      const device = await broker.connected(credentials)
      device.send(disconnectFrame)
      await device.closed
      await until(() => !broker.broker.transport.isConnected(credentials.deviceId), 'it is gone')
    }
    expect(await broker.refusals('protocol-error')).toBe(0)
    expect(await broker.refusals('taken-over')).toBe(0)
    await until(() => broker.ctx.connections.size === 0, 'no connection is left')
  })

  test('before having come is one', async () => {
    const device = await broker.open(await broker.device())
    device.send(disconnectFrame)
    await device.closed
    await until(async () => (await broker.refusals('protocol-error')) === 1, 'it is counted')
  })

  test('a message that came together with DISCONNECT is stored', async () => {
    const credentials = await broker.device()
    const device = await broker.connected(credentials)
    device.send(
      publishFrame({ topic: reportTopic(credentials), payload: '{"n":3}' }),
      disconnectFrame,
    )
    await device.closed
    await until(
      async () => (await broker.stored(credentials.deviceId)).includes(3),
      'the message is stored',
    )
  })
})

test('two CONNECTs end the connection', async () => {
  const credentials = await broker.device()
  const device = await broker.connected(credentials)
  device.send(connectFrame({ clientId: credentials.deviceId }))
  await device.closed
  expect(await broker.isServed(credentials)).toBe(true)
})
