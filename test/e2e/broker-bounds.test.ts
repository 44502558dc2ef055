import { connect as connectTcp } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { reportTopic, startTestBroker, type TestBroker } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { connectFrame, frame, publishFrame, type RawDevice, types } from '../support/raw-device.ts'

// The bounds of broker.md §7, by number. A limit that a test waits for is set small.
const limits = { handshakeMs: 400, connectMs: 400, hookMs: 1_000, drainMs: 2_000 }

let handle: DatabaseHandle
let broker: TestBroker
beforeAll(async () => {
  handle = await createTestDatabase()
  broker = await startTestBroker(handle, { limits })
})
afterEach(() => {
  broker.control.before = async () => {}
})
afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

/** A device that minds the rules is served: what was refused before it has broken nothing. */
async function honestTwin(): Promise<void> {
  const credentials = await broker.device()
  const device = await broker.connected(credentials)
  expect(await device.publish({ topic: reportTopic(credentials), payload: '{"n":1}' })).toBe(true)
  expect(await broker.stored(credentials.deviceId)).toEqual([1])
  await device.close()
}

const closes = async (device: RawDevice) => expect(await device.isClosedWithin(5_000)).toBe(true)

/** The packet around a CONNECT or PUBLISH has 1 byte of type and 1 to 4 of length. */
const declared = (packet: Buffer) =>
  packet.length - (packet.length < 130 ? 2 : packet.length < 16_387 ? 3 : 4)

const malformed: [name: string, Buffer][] = [
  ['an impossible length', Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x7f])],
  ['a reserved type', frame(0, 0, Buffer.alloc(2))],
  ['an AUTH of MQTT 5', frame(15, 0, Buffer.alloc(2))],
  ['a PUBREL', frame(6, 2, Buffer.from([0, 1]))],
  ['a CONNACK', frame(2, 0, Buffer.from([0, 0]))],
  ['a second CONNECT', connectFrame({ clientId: 'x' })],
  ['a SUBSCRIBE without filters', frame(8, 2, Buffer.from([0, 1]))],
  ['a SUBSCRIBE cut short', frame(8, 2, Buffer.from([0, 1, 0, 9, 65]))],
  ['a PUBLISH with wrong flags', frame(3, 7, Buffer.alloc(9))],
]

describe('1 and 2: packets', () => {
  test('a CONNECT of 100 MB is cut off long before it is whole', async () => {
    const device = await broker.open(await broker.device())
    device.send(frame(types.connect, 0, Buffer.alloc(0), 100_000_000))
    await closes(device)
    const flooding = await broker.open(await broker.device())
    const chunk = Buffer.alloc(65_536)
    flooding.send(frame(types.connect, 0, chunk, 100_000_000))
    for (let sent = 0; sent < 400 && !flooding.socket.destroyed; sent++) {
      const isFlushed = flooding.socket.write(chunk)
      if (!isFlushed) await Promise.race([flooding.closed, sleep(20)])
    }
    await closes(flooding)
    expect(flooding.socket.bytesWritten).toBeLessThan(8_000_000)
    await honestTwin()
  })

  test('a CONNECT may have 4,096 bytes and not one more', async () => {
    const connectOf = (clientId: string, bytes: number) => {
      const bare = declared(connectFrame({ clientId, password: Buffer.alloc(0) }))
      return connectFrame({ clientId, password: Buffer.alloc(bytes - bare) })
    }
    const credentials = await broker.device()
    const largest = await broker.open(credentials)
    largest.send(connectOf(credentials.deviceId, 4_096))
    expect(await largest.connack()).toBe(0)
    await largest.close()
    const larger = await broker.open(credentials)
    larger.send(connectOf(credentials.deviceId, 4_097))
    expect(await larger.connack()).toBe('closed')
  })

  test('a PUBLISH may have 64 KiB and not one byte more, in one write or in pieces', async () => {
    const { device, credentials } = await broker.pair()
    const publishOf = (bytes: number) => {
      const of = (pad: string) =>
        publishFrame({ topic: reportTopic(credentials), payload: JSON.stringify({ n: 1, pad }) })
      return of('x'.repeat(bytes - declared(of('x'.repeat(20_000))) + 20_000))
    }
    expect(declared(publishOf(65_536))).toBe(65_536)
    device.send(publishOf(65_536))
    expect(await device.next(types.puback)).toBeDefined()
    device.send(publishOf(65_537))
    expect(await device.next(types.puback)).toBeUndefined()
    const inPieces = await broker.connected(credentials)
    inPieces.send(publishOf(65_537).subarray(0, 1_000))
    await closes(inPieces)
    await expect
      .poll(() => broker.events(credentials.deviceId))
      .toEqual(['mqtt-packet-too-large', 'mqtt-packet-too-large'])
  })

  test('a header that announces 256 MB closes before a body arrives', async () => {
    const { device } = await broker.pair()
    device.send(frame(types.publish, 2, Buffer.alloc(0), 268_435_455))
    await closes(device)
  })

  test.each(malformed)('%s closes', async (_name, bytes) => {
    const { device } = await broker.pair()
    device.send(bytes)
    await closes(device)
  })
})

describe('3: time', () => {
  test('silent and dripping peers are closed in every phase', async () => {
    const silent = connectTcp(broker.broker.port, '127.0.0.1')
    const dripping = connectTcp(broker.broker.port, '127.0.0.1')
    const closedTcp = [silent, dripping].map(
      async (socket) =>
        await new Promise<void>((resolve) => {
          socket.on('error', () => {})
          socket.resume().once('close', () => resolve())
        }),
    )
    // The start of a ClientHello, byte by byte, faster than any timeout of inactivity.
    const hello = Buffer.from(`16030102000100${'00'.repeat(200)}`, 'hex')
    const drip = setInterval(() => dripping.write(hello.subarray(0, 1)), 50)
    const credentials = await broker.device()
    const silentTls = await broker.open(credentials)
    const halfConnect = await broker.open(credentials)
    halfConnect.send(connectFrame({ clientId: credentials.deviceId }).subarray(0, 20))
    await Promise.all([...closedTcp, silentTls.closed, halfConnect.closed])
    clearInterval(drip)
    expect(await broker.refusals('connect-timeout')).toBe(2)
    await honestTwin()
  })
})

describe('4: subscriptions', () => {
  const nine = (id: string) => Array.from({ length: 9 }, () => `fleetseal/v1/${id}/bundle`)

  test.each<[string, (id: string) => string[]]>([
    ['nine filters', nine],
    ['seven levels', (id) => [`fleetseal/v1/${id}/bundle/a/b/c`]],
    ['an empty filter', () => ['']],
    ['8,000 filters', (id) => Array.from({ length: 8_000 }, () => id.slice(0, 4))],
    ['everything', () => ['#']],
    ['the broker itself', () => ['$SYS/#']],
    ['all devices', () => ['fleetseal/v1/+/bundle']],
    ['a good one beside a bad one', (id) => [`fleetseal/v1/${id}/bundle`, 'fleetseal/v1/#']],
  ])('%s: closed and recorded', async (_name, filtersOf) => {
    const { device, credentials } = await broker.pair()
    expect(await device.subscribe(filtersOf(credentials.deviceId))).toBe('closed')
    await expect
      .poll(() => broker.events(credentials.deviceId))
      .toEqual([expect.stringMatching(/^mqtt-(too-many-filters|filter-refused|protocol-error)$/)])
  })

  test('its own filters are granted, at most with QoS 1, again and again', async () => {
    const { device, credentials } = await broker.pair()
    const own = ['bundle', 'command', '#', '+'].map(
      (leaf) => `fleetseal/v1/${credentials.deviceId}/${leaf}`,
    )
    expect(await device.subscribe(own, 2)).toEqual([1, 1, 1, 1])
    expect(await device.subscribe(own, 0)).toEqual([0, 0, 0, 0])
    const body = Buffer.concat([
      Buffer.from([0, 2]),
      ...own.map((filter) => Buffer.concat([Buffer.from([0, filter.length]), Buffer.from(filter)])),
    ])
    device.send(frame(10, 2, body))
    expect(await device.next(types.unsuback)).toBeDefined()
    expect(await device.subscribe(own.slice(0, 1))).toEqual([1])
    await device.close()
  })
})
