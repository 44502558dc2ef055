import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { type Credentials } from '../support/broker-pki.ts'
import { reportTopic, startTestBroker, type TestBroker, until } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  connectFrame,
  publishFrame,
  type RawDevice,
  subscribeFrame,
} from '../support/raw-device.ts'

// Broker.md §7, 25: a device that is revoked at any moment of its connection is gone within a second.
let handle: DatabaseHandle
let broker: TestBroker
beforeAll(async () => {
  handle = await createTestDatabase()
  broker = await startTestBroker(handle)
})
afterEach(() => {
  broker.directory.beforeCheck = async () => {}
  broker.control.before = async () => {}
})
afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const payload = '{"n":1}'

const revoke = (credentials: Credentials) => {
  broker.directory.refuse(credentials, 'device-revoked')
  return broker.ctx.connections.drop(credentials.deviceId)
}
const isGone = async (device: RawDevice) => expect(await device.isClosedWithin(1_000)).toBe(true)

test('between the handshake and CONNECT', async () => {
  const credentials = await broker.device()
  const device = await broker.open(credentials)
  revoke(credentials)
  expect(await device.connect({ clientId: credentials.deviceId })).toBe(5)
  await isGone(device)
})

test('while its status is read: the answer of the read is not believed', async () => {
  const credentials = await broker.device()
  const { promise: hold, resolve: release } = Promise.withResolvers<void>()
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
  broker.directory.forgotten.add(credentials.fingerprint)
  broker.directory.beforeCheck = async () => {
    ask()
    await hold
  }
  const device = await broker.open(credentials)
  device.send(connectFrame({ clientId: credentials.deviceId }))
  await asked
  expect(revoke(credentials)).toBe(1)
  release()
  expect(await device.connack()).not.toBe(0)
  await isGone(device)
})

test('while its status is read, and the notification is late', async () => {
  const credentials = await broker.device()
  const { promise: hold, resolve: release } = Promise.withResolvers<void>()
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
  broker.directory.forgotten.add(credentials.fingerprint)
  broker.directory.beforeCheck = async () => {
    ask()
    await hold
  }
  const device = await broker.open(credentials)
  device.send(connectFrame({ clientId: credentials.deviceId }))
  await asked
  broker.directory.refuse(credentials, 'device-revoked')
  release()
  expect(await device.connack()).toBe(5)
  await isGone(device)
})

test('idle, subscribed, or with a message on its way', async () => {
  const [idle, subscribed, speaking] = [
    await broker.pair(),
    await broker.pair(),
    await broker.pair(),
  ]
  await subscribed.device.subscribe([`fleetseal/v1/${subscribed.credentials.deviceId}/#`])
  const { promise: hold, resolve: release } = Promise.withResolvers<void>()
  broker.control.groups = []
  broker.control.before = async () => await hold
  speaking.device.send(publishFrame({ topic: reportTopic(speaking.credentials), payload }))
  await until(() => broker.control.groups.length > 0, 'its message is being stored')
  for (const { credentials, device } of [idle, subscribed, speaking]) {
    expect(revoke(credentials)).toBe(1)
    await isGone(device)
    expect(await broker.broker.transport.send(credentials.deviceId, 'command', {})).toBe('offline')
  }
  release()
  expect(await broker.isServed(idle.credentials)).toBe(false)
})

test('its next message or subscription is refused even when no socket was dropped', async () => {
  for (const frame of ['publish', 'subscribe'] as const) {
    const { credentials, device } = await broker.pair()
    broker.directory.refuse(credentials, 'device-disabled')
    if (frame === 'publish') device.send(publishFrame({ topic: reportTopic(credentials), payload }))
    else device.send(subscribeFrame([`fleetseal/v1/${credentials.deviceId}/#`]))
    await isGone(device)
    expect(await broker.stored(credentials.deviceId)).toEqual([])
    await expect.poll(() => broker.events(credentials.deviceId)).toEqual(['mqtt-device-disabled'])
    broker.directory.allow(credentials)
    expect(await broker.isServed(credentials)).toBe(true)
  }
})

test('a message that waits for its group is not stored any more', async () => {
  const { promise: hold, resolve: release } = Promise.withResolvers<void>()
  broker.control.groups = []
  broker.control.before = async () => await hold
  const { credentials, device } = await broker.pair()
  device.send(publishFrame({ topic: reportTopic(credentials), payload, id: 1 }))
  await until(() => broker.control.groups.length > 0, 'the first message is being stored')
  device.send(publishFrame({ topic: reportTopic(credentials, 'hello'), payload, id: 2 }))
  // Answered after what was sent before: the second message waits now.
  expect(await device.isAlive()).toBe(true)
  revoke(credentials)
  release()
  await isGone(device)
  await until(
    async () => (await broker.stored(credentials.deviceId)).length === 1,
    'the first is stored',
  )
  expect(await broker.isServed(await broker.device())).toBe(true)
  expect(await broker.stored(credentials.deviceId, 'hello')).toEqual([])
})
