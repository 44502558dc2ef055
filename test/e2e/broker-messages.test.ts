import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import type { Credentials } from '../support/broker-pki.ts'
import { reportTopic, startTestBroker, type TestBroker, until } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { type PublishFields, publishFrame, type RawDevice, types } from '../support/raw-device.ts'

// The bounds of broker.md §7, continued: 5 to 9, what a connected device may do and how much of it.
let handle: DatabaseHandle
let broker: TestBroker
beforeAll(async () => {
  handle = await createTestDatabase()
  broker = await startTestBroker(handle, { limits: { hookMs: 1_000 } })
})
afterEach(() => {
  broker.control.before = async () => {}
})
afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const closes = async (device: RawDevice) => expect(await device.isClosedWithin(5_000)).toBe(true)

describe('5: messages while the database stands still', () => {
  test('one device has at most 64 in flight, in one write or trickled; its neighbor is served', async () => {
    const { promise: hold, resolve: release } = Promise.withResolvers<void>()
    broker.control.before = async () => await hold
    const [flooding, trickling, neighbor] = [
      await broker.pair(),
      await broker.pair(),
      await broker.pair(),
    ]
    const messages = ({ credentials }: typeof flooding, count: number) =>
      Array.from({ length: count }, (_, n) =>
        publishFrame({ topic: reportTopic(credentials), payload: `{"n":${n}}`, id: n + 1 }),
      )
    flooding.device.send(...messages(flooding, 10_000))
    for (const one of messages(trickling, 1_000)) {
      trickling.device.send(one)
      await sleep(1)
      if (trickling.device.socket.destroyed) break
    }
    await closes(flooding.device)
    await closes(trickling.device)
    const topic = reportTopic(neighbor.credentials)
    const acknowledged = neighbor.device.publish({ topic, payload: '{"n":1}' })
    await sleep(20)
    release()
    expect(await acknowledged).toBe(true)
    for (const { credentials } of [flooding, trickling]) {
      expect((await broker.stored(credentials.deviceId)).length).toBeLessThanOrEqual(64)
      await expect
        .poll(() => broker.events(credentials.deviceId))
        .toEqual([expect.stringMatching(/^mqtt-(too-many-in-flight|rate-exceeded)$/)])
    }
  })

  test('64 at once are all stored, in order', async () => {
    const { device, credentials } = await broker.pair()
    const topic = reportTopic(credentials)
    const numbers = Array.from({ length: 64 }, (_, n) => n)
    device.send(...numbers.map((n) => publishFrame({ topic, payload: `{"n":${n}}`, id: n + 1 })))
    for (const _ of numbers) expect(await device.next(4)).toBeDefined()
    expect(await broker.stored(credentials.deviceId)).toEqual(numbers)
    await device.close()
  })

  test('all devices together have a limit; who is past it is turned away and served later', async () => {
    await using small = await startTestBroker(handle, { pki: broker.pki, limits: { inFlight: 3 } })
    const { promise: hold, resolve: release } = Promise.withResolvers<void>()
    small.control.before = async () => await hold
    const pairs = [await small.pair(), await small.pair(), await small.pair()]
    const last = await small.pair()
    const publish = async ({ credentials, device }: typeof last) =>
      await device.publish({ topic: reportTopic(credentials), payload: '{"n":1}' })
    const answers = pairs.map(publish)
    await until(() => small.control.groups.length > 0, 'a group is being stored')
    await sleep(50)
    expect(await publish(last)).toBe(false)
    release()
    expect(await Promise.all(answers)).toEqual([true, true, true])
    expect(await small.refusals('busy')).toBe(1)
    // The fault is ours: nothing to hold against the device.
    expect(await small.events(last.credentials.deviceId)).toEqual([])
    const again = await small.connected(last.credentials)
    expect(await publish({ ...last, device: again })).toBe(true)
  })
})

describe('6: keepalive', () => {
  test.each([0, 1_201, 65_535])('%i seconds is refused', async (keepalive) => {
    const credentials = await broker.device()
    const device = await broker.open(credentials)
    expect(await device.connect({ clientId: credentials.deviceId, keepalive })).toBe('closed')
    await expect.poll(() => broker.events()).toContain('mqtt-keepalive-refused')
  })

  test('silence closes, pings alone keep it open', async () => {
    const [silent, pinging] = [await broker.device(), await broker.device()]
    const quiet = await broker.connected(silent, { keepalive: 1 })
    const device = await broker.connected(pinging, { keepalive: 1 })
    while (!quiet.socket.destroyed) {
      expect(await device.isAlive()).toBe(true)
      await sleep(200)
    }
    expect(await device.isAlive()).toBe(true)
    expect(await broker.refusals('keepalive-timeout')).toBe(1)
    // An honest device loses its network too.
    expect(await broker.events(silent.deviceId)).toEqual([])
    await device.close()
  })
})

describe('7: client ids', () => {
  test.each<[string, string | Buffer, boolean]>([
    ['empty', '', true],
    ['empty without clean session', '', false],
    ['__proto__', '__proto__', true],
    ['constructor', 'constructor', true],
    ['NUL', '\u0000', true],
    ['invalid UTF-8', Buffer.from([0xff, 0xfe, 0xc0]), true],
    ['long', 'x'.repeat(4_000), true],
    ['another id', '0190a1b2-0000-7000-8000-00000000000a', true],
  ])('%s is refused', async (_name, clientId, isClean) => {
    const device = await broker.open(await broker.device())
    expect(await device.connect({ clientId, isClean })).toBe(2)
    await closes(device)
  })

  test('the id of another device is refused, and that device stays connected', async () => {
    const { device, credentials } = await broker.pair()
    const attacker = await broker.device()
    const attacking = await broker.open(attacker)
    expect(await attacking.connect({ clientId: credentials.deviceId })).toBe(2)
    await closes(attacking)
    expect(await device.isAlive()).toBe(true)
    await expect.poll(() => broker.events(attacker.deviceId)).toEqual(['mqtt-client-id-mismatch'])
    expect(await broker.events(credentials.deviceId)).toEqual([])
    expect(broker.broker.transport.isConnected(credentials.deviceId)).toBe(true)
    await device.close()
  })

  test('64 KB is too much for a CONNECT', async () => {
    const device = await broker.open(await broker.device())
    expect(await device.connect({ clientId: 'x'.repeat(65_535) })).toBe('closed')
  })
})

type Fields = (own: Credentials, other: Credentials) => PublishFields
const payload = '{"n":1}'
const to = (leaf: (own: Credentials) => string, more: Partial<PublishFields>): Fields => {
  return (own) => ({ topic: leaf(own), payload, ...more })
}

const refusedMessages: [name: string, fields: Fields, event: string][] = [
  ['QoS 2', to(reportTopic, { qos: 2 }), 'mqtt-qos-refused'],
  ['retain', to(reportTopic, { isRetained: true }), 'mqtt-retain-refused'],
  ['$SYS', () => ({ topic: '$SYS/x/new/clients', payload: 'x' }), 'mqtt-topic-refused'],
  ['a wildcard', () => ({ topic: 'fleetseal/#', payload: 'x' }), 'mqtt-protocol-error'],
  ['another device', (_, other) => ({ topic: reportTopic(other), payload }), 'mqtt-topic-refused'],
  ['an unknown leaf', to((own) => `${reportTopic(own)}s`, {}), 'mqtt-topic-refused'],
  ['a leaf nobody handles', to((own) => reportTopic(own, 'choice'), {}), 'mqtt-topic-refused'],
  ['a topic of 65,000 bytes', () => ({ topic: 'x'.repeat(65_000), payload }), 'mqtt-topic-refused'],
  ['no topic', () => ({ topic: '', payload }), 'mqtt-protocol-error'],
  ['no JSON', to(reportTopic, { payload: '{' }), 'mqtt-malformed-message'],
  [
    'invalid UTF-8',
    to(reportTopic, { payload: Buffer.from('{"n":1,"pad":"\xff"}', 'latin1') }),
    'mqtt-malformed-message',
  ],
  ['another shape', to(reportTopic, { payload: '{"n":1,"more":1}' }), 'mqtt-malformed-message'],
  ['deep nesting', to(reportTopic, { payload: '['.repeat(60_000) }), 'mqtt-malformed-message'],
  ['nothing', to(reportTopic, { payload: '' }), 'mqtt-malformed-message'],
]

describe('8: messages that are not allowed', () => {
  test.each(refusedMessages)(
    '%s: closed, counted, recorded, not stored, not forwarded',
    async (_name, fields, event) => {
      const [own, other] = [await broker.pair(), await broker.pair()]
      await other.device.subscribe([`fleetseal/v1/${other.credentials.deviceId}/#`])
      expect(await own.device.publish(fields(own.credentials, other.credentials))).toBe(false)
      await closes(own.device)
      await expect.poll(() => broker.events(own.credentials.deviceId)).toEqual([event])
      expect(await broker.refusals(event.replace('mqtt-', ''))).toBeGreaterThan(0)
      expect(await broker.stored(own.credentials.deviceId)).toEqual([])
      expect(await broker.stored(other.credentials.deviceId)).toEqual([])
      expect(await other.device.isAlive()).toBe(true)
      expect(other.device.received).toEqual([])
      await other.device.close()
    },
  )

  test('its own messages are stored, with QoS 0 too, and not sent back to it', async () => {
    const { device, credentials } = await broker.pair()
    await device.subscribe([`fleetseal/v1/${credentials.deviceId}/#`])
    expect(await device.publish({ topic: reportTopic(credentials), payload })).toBe(true)
    expect(await device.publish({ topic: reportTopic(credentials, 'hello'), payload })).toBe(true)
    device.send(publishFrame({ topic: reportTopic(credentials), payload: '{"n":2}', qos: 0 }))
    expect(await device.isAlive()).toBe(true)
    await expect.poll(() => broker.stored(credentials.deviceId)).toEqual([1, 2])
    expect(device.received).toEqual([])
    await device.close()
  })
})

describe('9: rate and number', () => {
  test('a device past its rate is cut off; its neighbor is not', async () => {
    const [{ device, credentials }, neighbor] = [await broker.pair(), await broker.pair()]
    let answers = 0
    while (!device.socket.destroyed && answers < 1_000) {
      if (await device.isAlive()) answers++
    }
    expect(answers).toBeGreaterThanOrEqual(90)
    expect(answers).toBeLessThan(1_000)
    await expect.poll(() => broker.events(credentials.deviceId)).toEqual(['mqtt-rate-exceeded'])
    expect(await neighbor.device.isAlive()).toBe(true)
    await neighbor.device.close()
  })

  test('connections past the maximum are dropped and counted; the first after a close is accepted', async () => {
    await using small = await startTestBroker(handle, {
      pki: broker.pki,
      limits: { maxConnections: 2 },
    })
    const [one, two, three] = [await small.device(), await small.device(), await small.device()]
    const first = await small.connected(one)
    await small.connected(two)
    await closes(await small.open(three))
    expect(await small.refusals('too-many-connections')).toBe(1)
    await first.close()
    await until(() => small.broker.transport.size === 1, 'the server noticed the close')
    const accepted = await small.connected(three)
    expect(await accepted.isAlive()).toBe(true)
  })
})

test('a device is sent only what it subscribed to', async () => {
  const { credentials, device } = await broker.pair()
  const { transport } = broker.broker
  const send = async () => await transport.send(credentials.deviceId, 'bundle', { n: 1 })
  expect(await send()).toBe('unsubscribed')
  await device.subscribe([`fleetseal/v1/${credentials.deviceId}/command`])
  expect(await send()).toBe('unsubscribed')
  for (const filter of ['bundle', '+', '#']) {
    await device.subscribe([`fleetseal/v1/${credentials.deviceId}/${filter}`])
    expect(await send()).toBe('sent')
    expect(await device.next(types.publish)).toBeDefined()
  }
  await device.close()
})
