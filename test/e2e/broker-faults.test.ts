import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { reportTopic, startTestBroker, type TestBroker, until } from '../support/broker.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  connectFrame,
  disconnectFrame,
  pingFrame,
  publishFrame,
  RawDevice,
  subscribeFrame,
  types,
} from '../support/raw-device.ts'

// Faults, broker.md §7: 15 to 18, 20 and 21.
let handle: DatabaseHandle
let broker: TestBroker
beforeAll(async () => {
  handle = await createTestDatabase()
  broker = await startTestBroker(handle, { limits: { hookMs: 200, drainMs: 500 } })
})
afterEach(() => {
  broker.control.before = async () => {}
  broker.directory.beforeCheck = async () => {}
  broker.directory.beforePeek = () => {}
})
afterAll(async () => {
  await broker[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

type Pair = Awaited<ReturnType<TestBroker['pair']>>
const payload = '{"n":1}'
const publish = async ({ credentials, device }: Pair) =>
  await device.publish({ topic: reportTopic(credentials), payload })

/** A device is sent only what it subscribed to. */
const listen = async ({ credentials, device }: Pick<Pair, 'credentials' | 'device'>) =>
  expect(await device.subscribe([`fleetseal/v1/${credentials.deviceId}/#`])).toEqual([1])

describe('16: hooks that fail', () => {
  const fail = () => {
    throw new Error('on purpose')
  }
  const repeat = 20

  test.each([
    ['throws', () => (broker.directory.beforePeek = fail)],
    ['rejects', () => (broker.directory.beforeCheck = async () => fail())],
    ['never answers', () => (broker.directory.beforeCheck = () => new Promise(() => {}))],
  ])('authentication that %s: code 3, closed', async (_name, breakIt) => {
    const credentials = await broker.device()
    await Promise.all(
      Array.from({ length: repeat }, async () => {
        const device = await broker.open(credentials)
        broker.directory.forgotten.add(credentials.fingerprint)
        breakIt()
        expect(await device.connect({ clientId: credentials.deviceId })).toBe(3)
        expect(await device.isClosedWithin(5_000)).toBe(true)
      }),
    )
    broker.directory.beforePeek = () => {}
    broker.directory.beforeCheck = async () => {}
    await until(() => broker.ctx.connections.size === 0, 'no connection is left')
    const again = await broker.connected(credentials)
    expect(await publish({ credentials, device: again })).toBe(true)
    await again.close()
  })

  test.each([
    ['throws', async () => fail()],
    ['does not answer in time', () => sleep(400)],
  ])('storing that %s: closed without PUBACK, and then it goes on', async (_name, breakIt) => {
    const pairs: Pair[] = []
    for (let n = 0; n < repeat; n++) pairs.push(await broker.pair())
    broker.control.before = async () => await breakIt()
    expect(new Set(await Promise.all(pairs.map(publish)))).toEqual(new Set([false]))
    broker.control.before = async () => {}
    // Until what does not end has ended, it is told to come later.
    const honest = await broker.device()
    await until(async () => await broker.isServed(honest), 'an honest device is served')
  })

  test('a ready device whose right is found to be gone is closed', async () => {
    const credentials = await broker.device()
    const device = await broker.open(credentials)
    let looks = 0
    broker.directory.beforePeek = () => {
      // At CONNECT it is allowed, when the connection is ready no longer.
      if (looks++ === 1) broker.directory.refuse(credentials, 'device-disabled')
    }
    await device.connect({ clientId: credentials.deviceId })
    expect(await device.isClosedWithin(5_000)).toBe(true)
  })
})

test('17: a device that does not read is cut off, and nobody waits for it', async () => {
  const [frozen, ...others] = [await broker.pair(), await broker.pair(), await broker.pair()]
  for (const each of [frozen, ...others]) await listen(each)
  frozen.device.socket.pause()
  const { transport } = broker.broker
  const body = { command: 'refresh', pad: 'x'.repeat(60_000) }
  let sent = 0
  for (let n = 0; n < 400; n++) {
    // Kernel buffers take some megabytes before the server's own begin to fill.
    if ((await transport.send(frozen.credentials.deviceId, 'command', body)) === 'sent') sent++
    else break
    await sleep(1)
  }
  expect(sent).toBeLessThan(400)
  for (const { credentials, device } of others) {
    expect(await transport.send(credentials.deviceId, 'command', body)).toBe('sent')
    expect(await device.next(types.publish)).toBeDefined()
  }
  await until(
    () => !transport.isConnected(frozen.credentials.deviceId),
    'the frozen one is cut off',
  )
  await expect
    .poll(() => broker.events(frozen.credentials.deviceId))
    .toEqual(['mqtt-slow-consumer'])
  expect(await transport.send(frozen.credentials.deviceId, 'command', body)).toBe('offline')
  for (const { device } of others) await device.close()
})

test('17: to a device that does not read, no more is written than its backlog', async () => {
  // Nothing but the backlog limit ends it here.
  await using own = await startTestBroker(handle, { pki: broker.pki, limits: { drainMs: 60_000 } })
  const { credentials, device } = await own.pair()
  await listen({ credentials, device })
  device.socket.pause()
  const { transport } = own.broker
  const body = { command: 'refresh', pad: 'x'.repeat(60_000) }
  const answers: string[] = []
  for (let n = 0; n < 400 && answers.at(-1) !== 'offline'; n++) {
    answers.push(await transport.send(credentials.deviceId, 'command', body))
    await sleep(1)
  }
  expect(answers.at(-1)).toBe('offline')
  expect(transport.isConnected(credentials.deviceId)).toBe(true)
  device.socket.resume()
  const isReading = async () =>
    (await transport.send(credentials.deviceId, 'command', body)) === 'sent'
  await until(isReading, 'it is spoken to again')
})

test('a message that no device could take is an error of ours', async () => {
  const { credentials, device } = await broker.pair()
  await listen({ credentials, device })
  const sending = broker.broker.transport.send(credentials.deviceId, 'bundle', 'x'.repeat(300_000))
  await expect(sending).rejects.toMatchObject({ code: 'too-large' })
  await device.close()
})

test('18: peers that vanish at any byte leave nothing behind', async () => {
  const credentials = await broker.device()
  const stream = Buffer.concat([
    connectFrame({ clientId: credentials.deviceId }),
    subscribeFrame([`fleetseal/v1/${credentials.deviceId}/#`]),
    publishFrame({ topic: reportTopic(credentials), payload }),
    pingFrame,
    disconnectFrame,
  ])
  for (let at = 0; at < stream.length; at += 3) {
    const device = await broker.open(credentials)
    device.send(stream.subarray(0, at))
    if (at % 2 === 0) await sleep(1)
    if (at % 4 === 0) device.tcp.resetAndDestroy()
    else await device.close()
  }
  await until(() => broker.broker.transport.size === 0, 'no session is left')
  await until(() => broker.ctx.connections.size === 0, 'no socket is left')
  const device = await broker.connected(credentials)
  expect(await publish({ credentials, device })).toBe(true)
  await device.close()
})

describe('20: one device, several connections', () => {
  test.each([2, 30])('%i at once: one remains and can be reached', async (count) => {
    const credentials = await broker.device()
    const devices = await Promise.all(Array.from({ length: count }, () => broker.open(credentials)))
    for (const device of devices) device.send(connectFrame({ clientId: credentials.deviceId }))
    await until(
      () => devices.filter(({ socket }) => !socket.destroyed).length === 1,
      'all but one are closed',
    )
    const [last] = devices.filter(({ socket }) => !socket.destroyed)
    expect(await last?.isAlive()).toBe(true)
    expect(broker.broker.transport.size).toBe(1)
    if (last) await listen({ credentials, device: last })
    expect(await broker.broker.transport.send(credentials.deviceId, 'command', {})).toBe('sent')
    expect(await last?.next(types.publish)).toBeDefined()
    await last?.close()
    await until(() => broker.broker.transport.size === 0, 'the last one is gone')
  })

  test('the newer one wins, and the older one is recorded', async () => {
    const older = await broker.pair()
    const newer = await broker.connected(older.credentials)
    expect(await older.device.isClosedWithin(5_000)).toBe(true)
    expect(await publish({ ...older, device: newer })).toBe(true)
    await expect.poll(() => broker.events(older.credentials.deviceId)).toEqual(['mqtt-taken-over'])
    await newer.close()
  })

  test('the older one closes while the newer one is being authenticated', async () => {
    for (let round = 0; round < 10; round++) {
      const older = await broker.pair()
      await older.device.subscribe([`fleetseal/v1/${older.credentials.deviceId}/#`])
      const newer = await broker.open(older.credentials)
      const { promise: hold, resolve: release } = Promise.withResolvers<void>()
      broker.directory.forgotten.add(older.credentials.fingerprint)
      broker.directory.beforeCheck = async () => await hold
      newer.send(connectFrame({ clientId: older.credentials.deviceId }))
      if (round % 2 === 0) older.device.socket.destroy()
      else broker.broker.transport.disconnect(older.credentials.deviceId)
      release()
      expect(await newer.connack()).toBe(0)
      expect(await older.device.isClosedWithin(5_000)).toBe(true)
      expect(await newer.isAlive()).toBe(true)
      expect(broker.broker.transport.connectedDevices()).toEqual([older.credentials.deviceId])
      const third = await broker.connected(older.credentials)
      expect(await newer.isClosedWithin(5_000)).toBe(true)
      await third.close()
      await until(() => broker.broker.transport.size === 0, 'all are gone')
    }
  })
})

describe('21: stopping', () => {
  test('what was received is committed and acknowledged, then all connections end', async () => {
    const own = await startTestBroker(handle, { pki: broker.pki })
    const { promise: hold, resolve: release } = Promise.withResolvers<void>()
    own.control.before = async () => await hold
    const [pair, idle] = [await own.pair(), await own.pair()]
    const silent = await own.open(idle.credentials)
    const answer = publish(pair)
    await until(() => own.control.groups.length === 1, 'the group is being stored')
    const stopped = own[Symbol.asyncDispose]()
    release()
    expect(await answer).toBe(true)
    await stopped
    expect(await own.stored(pair.credentials.deviceId)).toEqual([1])
    for (const { device } of [pair, idle, { device: silent }]) {
      expect(await device.isClosedWithin(5_000)).toBe(true)
    }
    const late = await RawDevice.open(own.broker.port, own.pki.rootPem, idle.credentials)
    expect(await late.isClosedWithin(5_000)).toBe(true)
    expect(await own.events(pair.credentials.deviceId)).toEqual([])
  })

  test('a database that does not answer does not hold it up', async () => {
    const own = await startTestBroker(handle, { pki: broker.pki, limits: { flushMs: 100 } })
    const { promise: hold, resolve: release } = Promise.withResolvers<void>()
    own.control.before = async () => await hold
    const answer = publish(await own.pair())
    await until(() => own.control.groups.length === 1, 'the group is being stored')
    await own[Symbol.asyncDispose]()
    expect(await answer).toBe(false)
    release()
  })
})
