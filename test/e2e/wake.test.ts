import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { type Bus, createPostgresBus } from '../../server/bus.ts'
import { subscribeWake, wakeDevices } from '../../server/deployments/wake.ts'
import { topicOf } from '../../server/protocol/topics.ts'
import { startTestBroker, type TestBroker } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import { type RawDevice, types } from '../support/raw-device.ts'

/* Two broker processes on one PostgreSQL, as far as being woken goes: the one that wakes, and the one where the device is. */

const log = pino({ level: 'silent' })
const patience = { timeout: 60_000 }
let stack: AsyncDisposableStack
let here: { bus: Bus; broker: TestBroker }
let there: { bus: Bus; broker: TestBroker }

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  const handle = stack.use(await createTestDatabase())
  if (handle.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  const process = async () => {
    const broker = stack.use(await startTestBroker(handle))
    const bus = stack.use(await createPostgresBus(handle.url, log))
    subscribeWake({ bus, log, transport: broker.broker.transport })
    return { bus, broker }
  }
  here = await process()
  there = await process()
})
afterAll(() => stack.disposeAsync())

async function listening(device: RawDevice, deviceId: string): Promise<void> {
  expect(await device.subscribe([topicOf(deviceId, 'command')])).toEqual([1])
}

const woken = ({ received }: RawDevice) =>
  received.filter(({ type }) => type === types.publish).map(({ body }) => body.toString())

test('a device at another process is woken once each time, and nobody else', async () => {
  const { device, credentials } = await there.broker.pair()
  const other = await there.broker.pair()
  await listening(device, credentials.deviceId)
  await listening(other.device, other.credentials.deviceId)
  for (let times = 1; times <= 5; times++) {
    await wakeDevices(here, [credentials.deviceId])
    await expect.poll(() => woken(device).length, patience).toBeGreaterThanOrEqual(times)
  }
  expect(await device.isAlive()).toBe(true)
  expect(await other.device.isAlive()).toBe(true)
  expect(woken(device)).toEqual(Array(5).fill(expect.stringContaining('"refresh"')))
  expect(woken(other.device)).toEqual([])
})

test('for one that is offline nothing is sent, and nothing is kept for later', async () => {
  const { device, credentials } = await there.broker.pair()
  const awake = await there.broker.pair()
  await listening(device, credentials.deviceId)
  await listening(awake.device, awake.credentials.deviceId)
  await device.close()
  await expect
    .poll(() => there.broker.broker.transport.isConnected(credentials.deviceId), patience)
    .toBe(false)
  // The last of them is heard of when all are.
  await wakeDevices(here, [credentials.deviceId])
  await wakeDevices(here, [credentials.deviceId, awake.credentials.deviceId])
  await expect.poll(() => woken(awake.device).length, patience).toBe(1)
  expect(woken(device)).toEqual([])
  const again = await there.broker.connected(credentials)
  await listening(again, credentials.deviceId)
  await wakeDevices(here, [awake.credentials.deviceId])
  await expect.poll(() => woken(awake.device).length, patience).toBe(2)
  expect(await again.isAlive()).toBe(true)
  expect(woken(again)).toEqual([])
})
