import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import type { RefusalReason } from '../../server/mqtt/refusal.ts'
import { topicOf } from '../../server/protocol/topics.ts'
import type { Credentials } from '../support/broker-pki.ts'
import { reportTopic, startTestBroker, type TestBroker, until } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { PahoClient } from '../support/paho-client.ts'
import type { ConnectFields } from '../support/raw-device.ts'

/*
 * What our broker says to the ten cases of paho.test.ts. It routes nothing between clients, keeps no message and no session,
 * and knows each device by its certificate, so that most of what the suite wants is refused here; each test says why, and has
 * its honest twin.
 */

let handle: DatabaseHandle
let broker: TestBroker
beforeAll(async () => {
  handle = await createTestDatabase()
  broker = await startTestBroker(handle)
})
afterAll(async () => {
  await broker?.[Symbol.asyncDispose]()
  await handle?.[Symbol.asyncDispose]()
})

const open = async (credentials: Credentials) =>
  await PahoClient.open(broker.broker.port, broker.pki.rootPem, credentials)

/** A device of ours, or the given one again. */
async function join(fields: Partial<ConnectFields> = {}, again?: Credentials) {
  const credentials = again ?? (await broker.device())
  const { deviceId } = credentials
  const client = await open(credentials)
  const connack = await client.connect({ clientId: deviceId, ...fields })
  // There is never a session that was kept.
  expect(connack).toEqual({ code: 0, isPresent: false })
  await until(() => broker.broker.transport.isConnected(deviceId), 'it is known')
  return { client, credentials, deviceId, topic: reportTopic(credentials) }
}

/** That it ends the connection, for this reason and once. */
async function isRefused(reason: RefusalReason, attempt: () => Promise<unknown>) {
  const before = await broker.refusals(reason)
  await attempt()
  await until(async () => (await broker.refusals(reason)) > before, `${reason} is counted`)
  expect(await broker.refusals(reason)).toBe(before + 1)
}

/** What the server says to a device arrives. Returns whether it was sent. */
const tell = async (deviceId: string, body: object) =>
  await broker.broker.transport.send(deviceId, 'bundle', body)

test('testBasic: a device speaks on its own topics, at QoS 0 and 1, and hears no other client', async () => {
  const { client, topic, deviceId, credentials } = await join()
  // Nothing it says comes back to it: there is no routing.
  expect(await client.subscribe({ [topicOf(deviceId, 'bundle')]: 2 })).toHaveLength(1)
  expect(await client.publish(topic, '{"n":1}', 0)).toBe(true)
  expect(await client.publish(topic, '{"n":2}', 1)).toBe(true)
  await until(async () => (await broker.stored(deviceId)).length === 2, 'both are stored')
  expect(client.arrived).toEqual([])
  await isRefused('qos-refused', async () => {
    // PUBREC would promise state that outlives the connection; a message here is idempotent instead.
    expect(await client.publish(topic, '{"n":3}', 2)).toBe(false)
  })
  const foreign = await join()
  await isRefused('topic-refused', async () => {
    expect(await foreign.client.publish('TopicA', 'qos 1', 1)).toBe(false)
  })
  const curious = await join()
  await isRefused('filter-refused', async () => {
    expect(await curious.client.subscribe({ TopicA: 2 })).toBe('closed')
  })
  expect(await broker.stored(deviceId)).toEqual([1, 2])

  const twice = await join({}, credentials)
  expect(await twice.client.connect({ clientId: deviceId })).toBe('closed')
  const wrong = await open(credentials)
  expect(await wrong.connect({ clientId: deviceId, protocol: 'hj' })).toBe('closed')
})

test('test_retained_messages: nothing is retained, the database holds what is true', async () => {
  const { client, topic, deviceId } = await join()
  expect(await client.publish(topic, '{"n":1}', 1, false)).toBe(true)
  await isRefused('retain-refused', async () => {
    expect(await client.publish(topic, '{"n":2}', 1, true)).toBe(false)
  })
  expect(await broker.stored(deviceId)).toEqual([1])
})

test('test_zero_length_clientid: the id is the one of the certificate, so none is no id', async () => {
  const { credentials } = await join()
  for (const isClean of [false, true]) {
    await isRefused('client-id-mismatch', async () => {
      // 2 is "identifier rejected".
      const client = await open(credentials)
      expect(await client.connect({ clientId: '', isClean })).toEqual({ code: 2, isPresent: false })
    })
  }
})

test('test_offline_message_queueing: no session is kept, a device that returns is told what is true then', async () => {
  const { client, credentials, deviceId } = await join({ isClean: false })
  await client.subscribe({ [topicOf(deviceId, 'bundle')]: 1 })
  await client.disconnect()
  const { transport } = broker.broker
  await until(() => !transport.isConnected(deviceId), 'it is gone')
  expect(await tell(deviceId, { no: 1 })).toBe('offline')

  const { client: again } = await join({ isClean: false }, credentials)
  // Its filters are gone too, and without them it must not be sent anything.
  expect(await tell(deviceId, { no: 2 })).toBe('unsubscribed')
  await again.subscribe({ [topicOf(deviceId, 'bundle')]: 1 })
  expect(await tell(deviceId, { no: 3 })).toBe('sent')
  await until(() => again.arrived.length > 0, 'it is told')
  expect(again.arrived.map(({ payload }) => payload)).toEqual(['{"no":3}'])
})

test('test_overlapping_subscriptions: one message, at the highest quality of ours', async () => {
  const { client, deviceId } = await join()
  const filters = { [`fleetseal/v1/${deviceId}/#`]: 1, [topicOf(deviceId, 'bundle')]: 0 }
  expect(await client.subscribe(filters)).toEqual([1, 0])
  expect(await tell(deviceId, { no: 1 })).toBe('sent')
  expect(await tell(deviceId, { no: 2 })).toBe('sent')
  await until(() => client.arrived.length >= 2, 'both came')
  expect(client.arrived.map(({ payload, qos }) => [payload, qos])).toEqual([
    ['{"no":1}', 1],
    ['{"no":2}', 1],
  ])
})

test('test_keepalive: who is silent is ended, nobody may be silent for ever, and no will is published', async () => {
  const listener = await join()
  const own = `fleetseal/v1/${listener.deviceId}/#`
  await listener.client.subscribe({ [own]: 1 })
  const will = { topic: topicOf(listener.deviceId, 'bundle'), payload: 'keepalive expiry' }
  await isRefused('keepalive-timeout', async () => {
    const { client } = await join({ keepalive: 1, will })
    await client.closed()
  })
  // The will named another device's topic, where what the server says later arrives alone.
  await tell(listener.deviceId, { no: 1 })
  await until(() => listener.client.arrived.length > 0, 'it is told')
  expect(listener.client.arrived.map(({ payload }) => payload)).toEqual(['{"no":1}'])
  await isRefused('keepalive-refused', async () => {
    const credentials = await broker.device()
    const client = await open(credentials)
    expect(await client.connect({ clientId: credentials.deviceId, keepalive: 0 })).toBe('closed')
  })
})

test('test_redelivery_on_reconnect: nothing is sent twice, messages are hints', async () => {
  const { client, credentials, deviceId } = await join({ isClean: false })
  const filter = { [topicOf(deviceId, 'bundle')]: 1 }
  await client.subscribe(filter)
  client.isPaused = true
  expect(await tell(deviceId, { no: 1 })).toBe('sent')
  await client.disconnect()
  const { client: again } = await join({ isClean: false }, credentials)
  await again.subscribe(filter)
  expect(await tell(deviceId, { no: 2 })).toBe('sent')
  await until(() => again.arrived.length > 0, 'it is told')
  expect(again.arrived.map(({ payload }) => payload)).toEqual(['{"no":2}'])
})

test('test_subscribe_failure: a filter of somebody else is an attack, and ends the connection', async () => {
  const { client } = await join()
  await isRefused('filter-refused', async () => {
    // Not 0x80: a device that asks for what is not its own is not ours or not well.
    expect(await client.subscribe({ 'test/nosubscribe': 2 })).toBe('closed')
  })
  const { client: honest, deviceId } = await join()
  expect(await honest.subscribe({ [topicOf(deviceId, 'command')]: 1 })).toEqual([1])
})

test('test_dollar_topics: nobody publishes to the topics of the broker itself', async () => {
  for (const topic of ['$TopicA/B', '$SYS/broker/kill']) {
    const { client, deviceId, topic: own } = await join()
    expect(await client.publish(own, '{"n":1}', 1)).toBe(true)
    await isRefused('topic-refused', async () => {
      expect(await client.publish(topic, '', 1)).toBe(false)
    })
    expect(await broker.stored(deviceId)).toEqual([1])
  }
})

test('test_unsubscribe: who does not ask for it any more is not sent it', async () => {
  const { client, deviceId } = await join()
  const [bundle, command] = [topicOf(deviceId, 'bundle'), topicOf(deviceId, 'command')]
  await client.subscribe({ [bundle]: 1, [command]: 1 })
  expect(await tell(deviceId, { no: 1 })).toBe('sent')
  expect(await client.unsubscribe(bundle)).toBe(true)
  expect(await tell(deviceId, { no: 2 })).toBe('unsubscribed')
  expect(await broker.broker.transport.send(deviceId, 'command', { no: 3 })).toBe('sent')
  await until(() => client.arrived.length >= 2, 'it is told')
  expect(client.arrived.map(({ payload }) => payload)).toEqual(['{"no":1}', '{"no":3}'])
})
