import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'

import { Aedes } from 'aedes'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createGate } from '../../server/mqtt/gate.ts'
import { defaultLimits } from '../../server/mqtt/limits.ts'
import { RefusalLog } from '../../server/mqtt/refusal.ts'
import type { Credentials } from '../support/broker-pki.ts'
import { startTestBroker, type TestBroker, until } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { PahoClient } from '../support/paho-client.ts'
import type { ConnectFields } from '../support/raw-device.ts'

/*
 * The ten cases for MQTT 3.1.1 of the Paho conformance suite (eclipse/paho.mqtt.testing, interoperability/client_test.py), by
 * their names, with Aedes behind our gate; broker.md §1.9 and test 43. Where the suite sleeps, these wait for what it sleeps
 * for. What our own broker says to the same is in paho-ours.test.ts.
 */

let handle: DatabaseHandle
let ours: TestBroker
let credentials: Credentials
beforeAll(async () => {
  handle = await createTestDatabase()
  ours = await startTestBroker(handle)
  credentials = await ours.device()
})
afterAll(async () => {
  await ours?.[Symbol.asyncDispose]()
  await handle?.[Symbol.asyncDispose]()
})

const topics = ['TopicA', 'TopicA/B', 'Topic/C', 'TopicA/C', '/TopicA'] as const
const filters = ['TopicA/+', '+/C', '#', '/#', '/+', '+/+', 'TopicA/#'] as const
const noSubscribe = 'test/nosubscribe'
/** A message on it, from a client to itself, arrives after what was said before. */
const endTopic = 'suite/end'
const mayPublish = new Set<string>([...topics, `$${topics[1]}`, endTopic])
const maySubscribe = new Set<string>([...topics, ...filters, endTopic])

/** Aedes of our version behind our gate, with the rule for empty ids; what it may route is what the suite needs. */
async function startSuite() {
  const aedes = await Aedes.createBroker({
    // 3.1.1 §3.1.3.1: without an id there is no session to keep. Aedes lets it in.
    preConnect: (_client, { clientId, clean }, done) => {
      const isKept = clientId === '' && clean !== true
      done(isKept ? new Error('an empty id') : null, !isKept)
    },
    authorizePublish: (_client, { topic }, done) =>
      done(mayPublish.has(topic) ? null : new Error('not a topic of the suite')),
    authorizeSubscribe: (_client, subscription, done) => {
      const { topic } = subscription
      if (topic === noSubscribe) return done(null, null)
      if (!maySubscribe.has(topic)) return done(new Error('not a filter of the suite'))
      done(null, subscription)
    },
  })
  const gate = createGate(ours.ctx, defaultLimits, new RefusalLog(ours.ctx), (socket) => {
    aedes.handle(socket)
  })
  gate.server.listen(0, '127.0.0.1')
  await once(gate.server, 'listening')
  const { port } = gate.server.address() as AddressInfo
  const open = async () => await PahoClient.open(port, ours.pki.rootPem, credentials)
  return {
    open,
    /** `myclientid` or `myclientid2` of the suite. */
    join: async (clientId: string, fields: Partial<ConnectFields> = {}) => {
      const client = await open()
      const connack = await client.connect({ clientId, ...fields })
      if (connack === 'closed' || connack.code !== 0) throw new Error(JSON.stringify(connack))
      return { client, isPresent: connack.isPresent }
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of gate.sockets) socket.destroy()
      await new Promise<void>((resolve) => aedes.close(resolve))
      await new Promise<void>((resolve) => gate.server.close(() => resolve()))
    },
  }
}

const a = 'myclientid'
const b = 'myclientid2'

/** What has arrived when nothing more is on its way. */
async function all(client: PahoClient) {
  await client.subscribe({ [endTopic]: 1 })
  const payload = randomUUID()
  await client.publish(endTopic, payload, 1)
  await until(() => client.arrived.some((message) => message.payload === payload), 'the end')
  return client.arrived.filter(({ topic }) => topic !== endTopic)
}

const payloads = (messages: readonly { payload: string }[]) =>
  messages.map(({ payload }) => payload).toSorted()

async function publishAll(client: PahoClient, isRetained: boolean, isEmpty = false) {
  for (const [qos, topic] of topics.slice(1, 4).entries()) {
    expect(await client.publish(topic, isEmpty ? '' : `qos ${qos}`, qos, isRetained)).toBe(true)
  }
}

test('43: testBasic', async () => {
  await using suite = await startSuite()
  const first = await suite.join(a)
  await first.client.disconnect()
  const { client, isPresent } = await suite.join(a)
  expect(isPresent).toBe(false)
  expect(await client.subscribe({ [topics[0]]: 2 })).toEqual([2])
  for (const qos of [0, 1, 2]) await client.publish(topics[0], `qos ${qos}`, qos)
  expect(payloads(await all(client))).toEqual(['qos 0', 'qos 1', 'qos 2'])
  await client.disconnect()

  const twice = (await suite.join(a)).client
  expect(await twice.connect({ clientId: a })).toBe('closed')
  const wrong = await suite.open()
  expect(await wrong.connect({ clientId: a, protocol: 'hj' })).toBe('closed')
})

test('43: test_retained_messages', async () => {
  await using suite = await startSuite()
  const { client } = await suite.join(a)
  await publishAll(client, true)
  await client.subscribe({ [filters[5]]: 2 })
  await until(() => client.arrived.length >= 3, 'the retained messages come')
  const kept = await all(client)
  expect(payloads(kept)).toEqual(['qos 0', 'qos 1', 'qos 2'])
  expect(kept.every(({ isRetained }) => isRetained)).toBe(true)
  await client.disconnect()

  const cleared = (await suite.join(a)).client
  await publishAll(cleared, true, true)
  await cleared.subscribe({ [filters[5]]: 2 })
  expect(await all(cleared)).toEqual([])
})

test('43: test_zero_length_clientid', async () => {
  await using suite = await startSuite()
  const kept = await suite.open()
  expect(await kept.connect({ clientId: '', isClean: false })).toBe('closed')
  const clean = await suite.join('', { isClean: true })
  expect(await clean.client.isAlive()).toBe(true)
  await clean.client.disconnect()
})

test('43: test_offline_message_queueing', async () => {
  await using suite = await startSuite()
  const before = (await suite.join(a, { isClean: false })).client
  await before.subscribe({ [filters[5]]: 2 })
  await before.disconnect()
  const other = (await suite.join(b)).client
  await publishAll(other, false)
  await other.disconnect()

  const { client, isPresent } = await suite.join(a, { isClean: false })
  expect(isPresent).toBe(true)
  await until(() => client.arrived.length >= 2, 'what was kept comes')
  // Whether QoS 0 is kept is left to the server; Aedes does not.
  expect(payloads(await all(client))).toEqual(['qos 1', 'qos 2'])
})

test('43: test_overlapping_subscriptions', async () => {
  await using suite = await startSuite()
  const { client } = await suite.join(a)
  expect(await client.subscribe({ [filters[6]]: 2, [filters[0]]: 1 })).toEqual([2, 1])
  await client.publish(topics[3], 'overlapping topic filters', 2)
  const qualities = (await all(client)).map(({ qos }) => qos).toSorted((x, y) => x - y)
  // One message at the highest quality, or one for each filter at its own.
  expect([[2], [1, 2]]).toContainEqual(qualities)
})

test('43: test_keepalive', async () => {
  await using suite = await startSuite()
  const will = { topic: topics[4], payload: 'keepalive expiry' }
  const silent = (await suite.join(a, { keepalive: 1, will })).client
  const { client } = await suite.join(b, { keepalive: 0 })
  await client.subscribe({ [topics[4]]: 2 })
  await silent.closed()
  await until(() => client.arrived.length > 0, 'the will comes')
  expect(payloads(await all(client))).toEqual(['keepalive expiry'])
})

test('43: test_redelivery_on_reconnect', async () => {
  await using suite = await startSuite()
  const paused = (await suite.join(b, { isClean: false })).client
  await paused.subscribe({ [filters[6]]: 2 })
  paused.isPaused = true
  await paused.publish(topics[1], 'one', 1)
  await paused.publish(topics[3], 'two', 2)
  await paused.disconnect()
  expect(paused.arrived).toEqual([])

  const { client, isPresent } = await suite.join(b, { isClean: false })
  expect(isPresent).toBe(true)
  await until(() => client.arrived.length >= 2, 'they come again')
  expect(payloads(await all(client))).toEqual(['one', 'two'])
})

test('43: test_subscribe_failure', async () => {
  await using suite = await startSuite()
  const { client } = await suite.join(a)
  expect(await client.subscribe({ [noSubscribe]: 2 })).toEqual([0x80])
  expect(await client.isAlive()).toBe(true)
})

test('43: test_dollar_topics', async () => {
  await using suite = await startSuite()
  const { client } = await suite.join(b, { keepalive: 0 })
  await client.subscribe({ [filters[5]]: 2 })
  expect(await client.publish(`$${topics[1]}`, 'hidden', 1)).toBe(true)
  // The honest twin: without the $ it comes.
  await client.publish(topics[1], 'seen', 1)
  expect(payloads(await all(client))).toEqual(['seen'])
})

test('43: test_unsubscribe', async () => {
  await using suite = await startSuite()
  const { client } = await suite.join(b)
  for (const topic of topics.slice(0, 3)) await client.subscribe({ [topic]: 2 })
  expect(await client.unsubscribe(topics[0])).toBe(true)
  const other = (await suite.join(a)).client
  for (const topic of topics.slice(0, 3)) await other.publish(topic, topic, 1)
  await until(() => client.arrived.length >= 2, 'the other two come')
  expect(payloads(await all(client))).toEqual([topics[2], topics[1]])
})
