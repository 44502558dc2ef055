import { afterAll, beforeAll, expect, test } from 'vitest'

import { Load } from '../../bench/load/driver.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { createEmbeddedDatabase } from '../support/database.ts'

const devices = 6

let handle: DatabaseHandle
let broker: TestBroker
let load: Load
let ids: string[]
let port: number
beforeAll(async () => {
  handle = await createEmbeddedDatabase()
  broker = await startTestBroker(handle)
  port = broker.broker.port
  const credentials = await Promise.all(
    Array.from({ length: devices }, async () => await broker.device()),
  )
  ids = credentials.map(({ deviceId }) => deviceId)
  load = new Load()
  await load.order('use', { credentials, ca: broker.pki.rootPem })
})
afterAll(async () => {
  await load[Symbol.asyncDispose]()
  await broker[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const timeoutMs = 60_000
const topic = 'fleetseal/v1/{id}/report'

test('devices come and go, and with tickets they are resumed', async () => {
  const first = await load.order('churn', {
    port,
    devices,
    connects: 12,
    parallel: 3,
    resume: true,
  })
  expect(first).toMatchObject({ connected: 12, refused: {} })
  const again = await load.order('churn', {
    port,
    devices,
    connects: 12,
    parallel: 3,
    resume: true,
  })
  expect(again).toMatchObject({ connected: 12, resumed: 12 })
  const full = await load.order('churn', { port, devices, connects: 6, parallel: 3 })
  expect(full).toMatchObject({ connected: 6, resumed: 0 })
  expect(full.latencies.count).toBe(6)
  expect(full.latencies.least).toBeGreaterThan(0)
})

test('who is not let in is counted by what the server said', async () => {
  const stranger = await broker.device()
  broker.directory.refuse(stranger, 'device-disabled')
  await load.order('use', { credentials: [stranger], ca: broker.pki.rootPem })
  const order = { port, first: devices, devices: 1, parallel: 1 }
  expect(await load.order('hold', order)).toMatchObject({
    connected: 0,
    refused: { 'CONNACK 5': 1 },
  })
  expect(await load.order('state', {})).toMatchObject({ held: 0 })
})

test('what is held publishes, receives, stops reading, and is told when it is closed', async () => {
  const subscribe = [{ filter: 'fleetseal/v1/{id}/command', qos: 1 as const }]
  const held = await load.order('hold', { port, devices, parallel: 3, subscribe })
  expect(held).toMatchObject({ connected: devices, refused: {} })

  const order = { topic, bodies: ['{"n":{n}}'], messages: 5, window: 2, timeoutMs }
  const sent = await load.order('publish', order)
  expect(sent).toMatchObject({ acknowledged: 30, failed: 0 })
  expect(sent.latencies.count).toBe(30)
  const paced = await load.order('publish', { ...order, messages: 2, perSecond: 200 })
  expect(paced).toMatchObject({ acknowledged: 12, failed: 0 })
  // Twelve at 200 a second: the last one is due 55 ms after the first.
  expect(paced.ms).toBeGreaterThanOrEqual(50)
  const stored = await Promise.all(ids.map(async (id) => await broker.stored(id)))
  expect(stored.flat().toSorted((a, b) => a - b)).toEqual(Array.from({ length: 42 }, (_, n) => n))

  await load.order('forget', {})
  const tell = async (some: readonly string[]) =>
    await Promise.all(
      some.map((id) => broker.broker.transport.send(id, 'command', { command: 'refresh' })),
    )
  await tell(ids)
  const arrived = await load.order('arrive', { messages: devices, timeoutMs })
  expect(arrived.received).toBe(devices)
  expect(arrived.at).toHaveLength(devices)
  expect(arrived.lastAt).toBeGreaterThanOrEqual(arrived.firstAt)

  await load.order('forget', {})
  await load.order('freeze', { connections: 2 })
  const told = tell(ids)
  expect((await load.order('arrive', { messages: devices - 2, timeoutMs })).received).toBe(
    devices - 2,
  )
  await load.order('thaw', { connections: 2 })
  expect((await load.order('arrive', { messages: devices, timeoutMs })).received).toBe(devices)
  await told

  const before = performance.timeOrigin + performance.now()
  for (const id of ids.slice(0, 2)) broker.broker.transport.disconnect(id)
  const closed = await load.order('closes', { connections: 2, timeoutMs })
  expect(closed.closed).toBe(2)
  // One clock for both processes, read at two places.
  expect(closed.lastAt).toBeGreaterThan(before - 5)
  expect(await load.order('release', {})).toMatchObject({ held: 0 })
})

test('an order that cannot be carried out is an error, and the next one works', async () => {
  const wrong = load.order('publish', { topic, bodies: ['{}'], messages: 1, window: 1 })
  await expect(wrong).rejects.toThrow(/0 messages/)
  expect(await load.order('state', {})).toMatchObject({ held: 0 })
})

test('a load that was ended takes no more orders', async () => {
  const other = new Load()
  await other.order('state', {})
  await other[Symbol.asyncDispose]()
  await expect(other.order('state', {})).rejects.toThrow(/has ended/)
})
