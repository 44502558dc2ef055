import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { until } from '../support/broker.ts'
import { type Asker, ChunkWorld, type ChunkWorldOptions } from '../support/chunk-world.ts'
import { createTestDatabase } from '../support/database.ts'

// Chunk delivery of updates.md section 6, and those of the numbered cases 68 to 79 that a server answers for.
let handle: DatabaseHandle
let world: ChunkWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ChunkWorld.start(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const another = async (options: ChunkWorldOptions) =>
  await ChunkWorld.start(handle, { ...options, pki: world.broker.pki })
const isServed = async (asker: Asker, of = world) => {
  of.ask(asker, { o: 1, n: 1 })
  return (await of.blocks(asker, 1))[0] === 1
}

describe('blocks', () => {
  test('are sent at QoS 0, in order, the last one marked, and make the file', async () => {
    const asker = await world.asker()
    const parts: Buffer[] = []
    for (const o of [0, 2, 4]) {
      world.ask(asker, { o, n: o === 4 ? 1 : 2 })
      for (const block of o === 4 ? [4] : [o, o + 1]) {
        const answer = await world.next(asker)
        expect(answer?.qos).toBe(0)
        expect(answer?.chunk).toMatchObject({ kind: 'data', block, isLast: block === 4 })
        if (answer?.chunk?.kind === 'data') parts.push(answer.chunk.payload)
      }
    }
    const found = createHash('sha256').update(Buffer.concat(parts)).digest('hex')
    expect(found).toBe(world.sha256)
    await asker.device.close()
  })

  test('that are missing are sent by bitmap, and no others', async () => {
    const asker = await world.asker()
    world.ask(asker, { o: 1, b: '90' })
    expect(await world.blocks(asker, 2)).toEqual([1, 4])
    world.ask(asker, { o: 0, n: 1 })
    expect(await world.blocks(asker, 1)).toEqual([0])
    await asker.device.close()
  })

  test('70: beyond the end are left out; when all are, the request is refused', async () => {
    const asker = await world.asker()
    world.ask(asker, { o: 4, n: 2 })
    expect(await world.blocks(asker, 1)).toEqual([4])
    for (const o of [5, 0xff_ff_ff_ff]) {
      world.ask(asker, { o, n: 1 })
      expect((await world.next(asker))?.chunk).toEqual({
        kind: 'refused',
        block: o,
        code: 'bad-range',
      })
    }
    await asker.device.close()
  })

  test('are not stored for a device that does not listen', async () => {
    const { credentials, device } = await world.broker.pair()
    world.ask({ credentials, device }, { n: 1 })
    expect(await device.isAlive()).toBe(true)
    expect(device.received).toEqual([])
    await device.close()
  })
})

describe('who may', () => {
  test('78: another device gets one answer for what is not its own and what is not there', async () => {
    const stranger = await world.asker({ mayDownload: false })
    world.ask(stranger, { n: 1 })
    const foreign = await world.next(stranger)
    expect(foreign?.chunk).toEqual({ kind: 'refused', block: 0, code: 'not-allowed' })
    const absent = '0'.repeat(64)
    world.ask(stranger, { f: absent.slice(0, 32), n: 1 })
    expect((await world.next(stranger, absent))?.chunk).toEqual(foreign?.chunk)
    const owner = await world.asker()
    expect(await isServed(owner)).toBe(true)
    await stranger.device.close()
    await owner.device.close()
  })

  test('a file that has a right to it and is not in the storage is not found', async () => {
    const lost = 'ab'.repeat(32)
    const asker = await world.asker({ names: [lost] })
    world.ask(asker, { f: lost.slice(0, 32), n: 1 })
    expect((await world.next(asker, lost))?.chunk).toMatchObject({ code: 'not-found' })
    await asker.device.close()
  })
})

describe('a request', () => {
  test.each([
    ['for more than 128 kB', { n: 3 }, 0, 'mqtt-malformed-message'],
    ['for blocks of no allowed size', { l: 1_000, n: 1 }, 0, 'mqtt-malformed-message'],
    ['of more than 512 bytes', { n: 1, x: 'x'.repeat(512) }, 0, 'mqtt-malformed-message'],
    ['at QoS 1', { n: 1 }, 1, 'mqtt-qos-refused'],
  ])('%s ends the connection', async (_what, request, qos, kind) => {
    const asker = await world.asker()
    world.ask(asker, request, { qos })
    expect(await asker.device.isClosedWithin(5_000)).toBe(true)
    await expect.poll(() => world.broker.events(asker.credentials.deviceId)).toEqual([kind])
  })

  test('takes the place of the one before', async () => {
    const asker = await world.asker()
    const { promise: hold, resolve: release } = Promise.withResolvers<void>()
    let reads = 0
    world.beforeRead = async () => {
      reads++
      await hold
    }
    world.ask(asker, { o: 0, n: 2 })
    await until(() => reads === 1, 'the first request is being answered')
    world.ask(asker, { o: 2, n: 1 })
    world.ask(asker, { o: 3, n: 1 })
    expect(await asker.device.isAlive()).toBe(true)
    release()
    expect(await world.blocks(asker, 1)).toEqual([3])
    expect(await asker.device.isAlive()).toBe(true)
    expect(asker.device.received).toEqual([])
    world.beforeRead = async () => {}
    await asker.device.close()
  })

  test('waits for its turn when a device asks too often, and is answered', async () => {
    await using slow = await another({ chunks: { requestsPerSecond: 20, requestBurst: 2 } })
    const asker = await slow.asker()
    const startedAt = performance.now()
    for (let n = 0; n < 6; n++) expect(await isServed(asker, slow)).toBe(true)
    // Four of them had to wait for a twentieth of a second each.
    expect(performance.now() - startedAt).toBeGreaterThan(150)
    await asker.device.close()
  })
})

describe('memory', () => {
  test('is refused with the time to come back when it is used up', async () => {
    await using small = await another({
      pool: { maxBytes: 70_000, maxWaiting: 0 },
      chunks: { retrySeconds: 7 },
    })
    const [first, second] = [await small.asker(), await small.asker()]
    const { promise: hold, resolve: release } = Promise.withResolvers<void>()
    let reads = 0
    small.beforeRead = async () => {
      reads++
      await hold
    }
    small.ask(first, { o: 0, n: 1 })
    await until(() => reads === 1, 'the first holds all there is')
    small.ask(second, { o: 2, n: 1 })
    expect((await small.next(second))?.chunk).toEqual({ kind: 'retry', block: 2, seconds: 7 })
    release()
    expect(await small.blocks(first, 1)).toEqual([0])
    expect(await isServed(second, small)).toBe(true)
  })

  test('79: stays within its bound however many ask', async () => {
    await using small = await another({ pool: { maxBytes: 200_000, maxWaiting: 100 } })
    const askers = await Promise.all(Array.from({ length: 24 }, async () => await small.asker()))
    for (const asker of askers) small.ask(asker, { o: 0, n: 2 })
    for (const asker of askers) expect(await small.blocks(asker, 2)).toEqual([0, 1])
    expect(small.peakBytes).toBeGreaterThan(65_536)
    expect(small.peakBytes).toBeLessThanOrEqual(200_000)
  })

  test('is not held by who does not read: it is cut off; the neighbor is served', async () => {
    await using quick = await another({
      limits: { drainMs: 300, packetsPerSecond: 1e6, packetBurst: 1e6 },
      chunks: { requestsPerSecond: 1e6, requestBurst: 1e6 },
    })
    const [deaf, neighbor] = [await quick.asker(), await quick.asker()]
    deaf.device.socket.pause()
    const { deviceId } = deaf.credentials
    const deadline = performance.now() + 30_000
    while (quick.broker.broker.transport.isConnected(deviceId) && performance.now() < deadline) {
      quick.ask(deaf, { o: 0, n: 2 })
      await sleep(2)
    }
    await expect.poll(() => quick.broker.events(deviceId)).toEqual(['mqtt-slow-consumer'])
    expect(await isServed(neighbor, quick)).toBe(true)
  })
})
