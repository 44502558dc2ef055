import fc from 'fast-check'
import mqtt from 'mqtt'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import type { Credentials } from '../support/broker-pki.ts'
import { reportTopic, startTestBroker, type TestBroker, until } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  connectFrame,
  frame,
  pingFrame,
  publishFrame,
  type RawDevice,
  subscribeFrame,
} from '../support/raw-device.ts'

// Broker.md §7, 15 and 30, and a device that is written by somebody else. Seeded: a failure can be repeated.
const seed = 20_260_301
let handle: DatabaseHandle
let broker: TestBroker
let credentials: Credentials
beforeAll(async () => {
  handle = await createTestDatabase()
  broker = await startTestBroker(handle, { limits: { connectMs: 500, packetBurst: 10_000 } })
  credentials = await broker.device()
})
afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

async function isServedAfterwards(): Promise<void> {
  expect(await broker.isServed(await broker.device())).toBe(true)
  await until(() => broker.broker.transport.size === 0, 'no session is left')
  await until(() => broker.ctx.connections.size === 0, 'no socket is left')
}

test('30: random bytes, random packets and mutated streams neither crash nor hang it', async () => {
  const { deviceId } = credentials
  const valid = Buffer.concat([
    connectFrame({ clientId: deviceId }),
    subscribeFrame([`fleetseal/v1/${deviceId}/#`]),
    publishFrame({ topic: reportTopic(credentials), payload: '{"n":1}' }),
    pingFrame,
  ])
  const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array))
  const packet = fc
    .tuple(fc.nat(15), fc.nat(15), bytes, fc.option(fc.nat(300_000)))
    .map(([type, flags, body, announced]) => frame(type, flags, body, announced ?? body.length))
  const mutated = fc
    .array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 })
    .map((changes) => {
      const copy = Buffer.from(valid)
      for (const [at, value] of changes) copy[at] = value
      return copy
    })
  const stream = fc.oneof(
    bytes.map((random) => [random]),
    fc.array(packet, { minLength: 1, maxLength: 5 }),
    fc
      .array(packet, { minLength: 1, maxLength: 5 })
      .map((packets) => [connectFrame({ clientId: deviceId }), ...packets]),
    mutated.map((copy) => [copy]),
  )
  await fc.assert(
    fc.asyncProperty(stream, async (frames) => {
      const device = await broker.open(credentials)
      device.send(...frames)
      device.socket.end()
      await device.closed
    }),
    { seed, numRuns: 300 },
  )
  await isServedAfterwards()
})

test('8 and 30: any topic but its own, any payload but a valid one, ends the connection', async () => {
  const own = reportTopic(credentials)
  const topic = fc.oneof(
    fc.string({ minLength: 1, maxLength: 60, unit: 'binary' }),
    fc
      .array(fc.constantFrom('fleetseal', 'v1', credentials.deviceId, 'report', '$SYS', ''), {
        maxLength: 6,
      })
      .map((parts) => parts.join('/')),
  )
  const payload = fc.oneof(fc.json(), fc.string(), fc.constant('{"n":1}'))
  await fc.assert(
    fc.asyncProperty(topic, payload, async (anyTopic, anyPayload) => {
      fc.pre(anyTopic !== own)
      const device = await broker.connected(credentials)
      expect(await device.publish({ topic: anyTopic, payload: anyPayload })).toBe(false)
      const again = await broker.connected(credentials)
      const isValid = anyPayload === '{"n":1}'
      expect(await again.publish({ topic: own, payload: anyPayload })).toBe(isValid)
      await again.close()
    }),
    { seed, numRuns: 60 },
  )
  await isServedAfterwards()
})

test('15: after any interleaving of connect, publish, kick and leave, all books agree', async () => {
  const devices = [await broker.device(), await broker.device(), await broker.device()]
  const open = new Set<RawDevice>()
  const step = fc.tuple(
    fc.nat(devices.length - 1),
    fc.constantFrom('connect', 'publish', 'subscribe', 'kick', 'leave', 'reset'),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async (steps) => {
      for (const [index, action] of steps) {
        const one = devices[index] ?? credentials
        const [device] = [...open].filter(({ socket }) => !socket.destroyed).slice(-1)
        if (action === 'connect') {
          const next = await broker.open(one)
          open.add(next)
          next.send(connectFrame({ clientId: one.deviceId }))
        }
        if (action === 'publish')
          device?.send(publishFrame({ topic: reportTopic(one), payload: '{"n":1}' }))
        if (action === 'subscribe') device?.send(subscribeFrame([`fleetseal/v1/${one.deviceId}/#`]))
        if (action === 'kick') broker.broker.transport.disconnect(one.deviceId)
        if (action === 'leave') device?.socket.destroy()
        if (action === 'reset') device?.tcp.resetAndDestroy()
      }
      await agree()
      for (const { socket } of open) socket.destroy()
      open.clear()
      await until(() => broker.ctx.connections.size === 0, 'no socket is left')
      expect(broker.broker.transport.size).toBe(0)
    }),
    { seed, numRuns: 15 },
  )

  /** As many sockets at our end as at theirs, each device once and reachable. */
  async function agree() {
    const alive = () => [...open].filter(({ socket }) => !socket.destroyed).length
    const { transport } = broker.broker
    // A socket that was just kicked is in the books until it has closed.
    const isQuiet = () => transport.connectedDevices().every((id) => transport.isConnected(id))
    await until(
      () =>
        isQuiet() && alive() === transport.size && broker.ctx.connections.size === transport.size,
      'sockets, sessions and index agree',
    )
    for (const id of transport.connectedDevices()) {
      expect(await transport.send(id, 'command', { command: 'refresh' })).not.toBe('offline')
    }
  }
})

test('44: mqtt.js connects, is told, tells, and survives a kick', async () => {
  const { deviceId, key, cert } = credentials
  const client = await mqtt.connectAsync(`mqtts://localhost:${broker.broker.port}`, {
    clientId: deviceId,
    key,
    cert,
    ca: broker.pki.rootPem,
    protocolVersion: 4,
    clean: true,
    keepalive: 60,
    reconnectPeriod: 50,
  })
  const received: string[] = []
  client.on('message', (_topic, payload) => void received.push(payload.toString()))
  await client.subscribeAsync(`fleetseal/v1/${deviceId}/bundle`, { qos: 1 })
  await client.publishAsync(reportTopic(credentials), '{"n":7}', { qos: 1 })
  expect(await broker.stored(deviceId)).toContain(7)
  await until(() => broker.broker.transport.isConnected(deviceId), 'it is known')
  expect(await broker.broker.transport.send(deviceId, 'bundle', { hello: 'device' })).toBe('sent')
  await until(() => received.length === 1, 'it was told')
  expect(received).toEqual(['{"hello":"device"}'])

  expect(broker.broker.transport.disconnect(deviceId)).toBe(1)
  await until(() => !client.connected, 'it lost its connection')
  await until(() => broker.broker.transport.isConnected(deviceId), 'it came back')
  await client.publishAsync(reportTopic(credentials), '{"n":8}', { qos: 1 })
  expect(await broker.stored(deviceId)).toContain(8)
  await client.endAsync()
})
