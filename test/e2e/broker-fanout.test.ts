import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { startTestBroker, type TestBroker, until } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { type RawDevice, type Received, types } from '../support/raw-device.ts'

// What the server says is encoded once and written to each socket (server/mqtt/device-transport.ts; broker.md §7, 17).
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

const listening = async (qos: 0 | 1 | undefined, at = broker) => {
  const { credentials, device } = await at.pair()
  const { deviceId } = credentials
  if (qos !== undefined) {
    expect(await device.subscribe([`fleetseal/v1/${deviceId}/command`], qos)).toEqual([qos])
  }
  return { deviceId, device }
}

function read({ flags, body }: Received) {
  const qos = (flags >> 1) & 3
  const nameEnd = 2 + body.readUInt16BE(0)
  return {
    qos,
    topic: body.toString('utf8', 2, nameEnd),
    packetId: qos > 0 ? body.readUInt16BE(nameEnd) : 0,
    payload: body.subarray(nameEnd + (qos > 0 ? 2 : 0)),
  }
}
const nextOf = async (device: RawDevice) => {
  const packet = await device.next(types.publish)
  if (!packet) throw new Error('The connection was closed')
  return read(packet)
}

test('each hears it once, under its own topic and at its own QoS; what became of each is told in order', async () => {
  const body = { command: 'refresh' }
  const [none, once, least] = [
    await listening(undefined),
    await listening(0),
    await listening(1),
  ] as const
  const away = randomUUID()
  const ids = [least.deviceId, away, none.deviceId, once.deviceId]
  const { transport } = broker.broker
  for (const packetId of [1, 2, 3]) {
    expect(await transport.sendToMany(ids, 'command', body)).toEqual([
      'sent',
      'offline',
      'unsubscribed',
      'sent',
    ])
    const payload = Buffer.from(JSON.stringify(body))
    const topic = (id: string) => `fleetseal/v1/${id}/command`
    expect(await nextOf(least.device)).toEqual({
      qos: 1,
      topic: topic(least.deviceId),
      packetId,
      payload,
    })
    expect(await nextOf(once.device)).toEqual({
      qos: 0,
      topic: topic(once.deviceId),
      packetId: 0,
      payload,
    })
  }
  // A ping is answered after all that was said before.
  for (const { device } of [none, once, least]) {
    expect(await device.isAlive()).toBe(true)
    expect(device.received).toEqual([])
    await device.close()
  }
})

test('a message for one goes on counting where that for many ended', async () => {
  const { deviceId, device } = await listening(1)
  const { transport } = broker.broker
  await transport.sendToMany([deviceId, deviceId], 'command', { command: 'refresh' })
  await transport.send(deviceId, 'command', { command: 'refresh' })
  const packetIds = [await nextOf(device), await nextOf(device), await nextOf(device)]
  expect(packetIds.map(({ packetId }) => packetId)).toEqual([1, 2, 3])
  await device.close()
})

test('17: who does not read holds up nobody, gets no more than its backlog, and is cut off', async () => {
  const limits = { drainMs: 2_000 }
  await using own = await startTestBroker(handle, { pki: broker.pki, limits })
  const frozen = await listening(1, own)
  const others = [await listening(0, own), await listening(1, own)]
  frozen.device.socket.pause()
  const ids = [frozen, ...others].map(({ deviceId }) => deviceId)
  const body = { command: 'refresh', pad: 'x'.repeat(60_000) }
  const { transport } = own.broker
  let sent = 0
  for (let n = 0; n < 400; n++) {
    const [first, ...rest] = await transport.sendToMany(ids, 'command', body)
    expect(rest).toEqual(['sent', 'sent'])
    for (const { device } of others)
      expect((await nextOf(device)).payload.length).toBeGreaterThan(60_000)
    if (first !== 'sent') break
    sent++
  }
  // Kernel buffers take some megabytes before the server's own begin to fill.
  expect(sent).toBeLessThan(400)
  await until(() => !transport.isConnected(frozen.deviceId), 'the frozen one is cut off')
  await expect
    .poll(() => own.events(frozen.deviceId), { timeout: 60_000 })
    .toEqual(['mqtt-slow-consumer'])
  for (const { device } of others) {
    expect(await device.isAlive()).toBe(true)
    await device.close()
  }
}, 60_000)

test('bytes may be used again as soon as they are said to be sent', async () => {
  const { credentials, device } = await broker.pair()
  await device.subscribe([`fleetseal/v1/${credentials.deviceId}/chunk`], 0)
  const payload = Buffer.alloc(60_000)
  const { transport } = broker.broker
  // More than kernel buffers take, so that writes have to wait for the reader.
  device.socket.pause()
  const sending = (async () => {
    for (let n = 1; n <= 100; n++) {
      payload.fill(n)
      expect(await transport.sendBytes(credentials.deviceId, 'chunk', payload)).toBe('sent')
      payload.fill(255)
    }
  })()
  await sleep(50)
  device.socket.resume()
  await sending
  for (let n = 1; n <= 100; n++) {
    const { payload: got } = await nextOf(device)
    expect(got.length).toBe(60_000)
    expect(got.every((byte) => byte === n)).toBe(true)
  }
  await device.close()
}, 60_000)

test('6: who only acknowledges is alive: a message and its PUBACK every moment outlast the keepalive', async () => {
  const credentials = await broker.device()
  const { deviceId } = credentials
  const device = await broker.connected(credentials, { keepalive: 2 })
  await device.subscribe([`fleetseal/v1/${deviceId}/command`])
  const began = performance.now()
  while (performance.now() - began < 4_000) {
    expect(await broker.broker.transport.send(deviceId, 'command', { command: 'refresh' })).toBe(
      'sent',
    )
    const { packetId } = await nextOf(device)
    device.send(Buffer.from([types.puback << 4, 2, packetId >> 8, packetId & 255]))
    await sleep(250)
  }
  expect(await device.isAlive()).toBe(true)
  await device.close()
}, 60_000)
