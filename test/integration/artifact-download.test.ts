import { createHash, randomBytes } from 'node:crypto'
import { connect } from 'node:net'

import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'

import { type Block, BlockPool } from '../../server/artifacts/block-pool.ts'
import { artifactRouter } from '../../server/artifacts/device-router.ts'
import type { OpenArtifact } from '../../server/artifacts/storage.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { type DeviceListener, listenAsDevice } from '../support/device-listener.ts'
import { ReleaseWorld, type TestDevice } from '../support/release-world.ts'

const bytes = randomBytes(700_000)
const sha256 = createHash('sha256').update(bytes).digest('hex')
const etag = `"${sha256}"`

let handle: DatabaseHandle
let world: ReleaseWorld
let listener: DeviceListener
let device: TestDevice
let stranger: TestDevice
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle)
  const { id: artifactId } = await world.upload(bytes)
  const release = await world.publishRelease({ artifactId })
  device = await world.device()
  stranger = await world.device()
  await world.deploy(device.id, release)
  await device.poll()
  await stranger.poll()
  listener = await listenAsDevice(artifactRouter(world.ctx))
})
afterAll(async () => {
  await listener[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})
beforeEach(() => {
  listener.deviceId = device.id
})

async function get(path: string, headers: Record<string, string> = {}, method = 'GET') {
  const response = await fetch(`${listener.url}${path}`, { method, headers })
  const body = Buffer.from(await response.arrayBuffer())
  return { status: response.status, header: (name: string) => response.headers.get(name), body }
}

const path = `/artifacts/${sha256}`
const tooMany = `bytes=${Array.from({ length: 17 }, (_, n) => `${n * 2}-${n * 2}`).join(',')}`

describe('who may', () => {
  test('the device whose targets name it', async () => {
    const { status, header, body } = await get(path)
    expect(status).toBe(200)
    expect(body.equals(bytes)).toBe(true)
    expect(header('etag')).toBe(etag)
    expect(header('cache-control')).toContain('immutable')
    expect(header('repr-digest')).toBe(`sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:`)
  })

  test('78: no other device, and it cannot tell that from what does not exist', async () => {
    listener.deviceId = stranger.id
    const [foreign, absent, nonsense] = await Promise.all([
      get(path),
      get(`/artifacts/${'0'.repeat(64)}`),
      get('/artifacts/..%2f..%2fkek'),
    ])
    for (const reply of [foreign, absent, nonsense]) expect(reply?.status).toBe(403)
    expect(foreign?.body).toEqual(absent?.body)
    expect(foreign?.body).toEqual(nonsense?.body)
  })

  test('78: what is not its own costs the server what does not exist costs: no time tells them apart', async () => {
    listener.deviceId = stranger.id
    const open = vi.spyOn(world.storage, 'open')
    const costs: number[] = []
    for (const name of [sha256, '0'.repeat(64), sha256, '0'.repeat(64)]) {
      const ask = async () => expect((await get(`/artifacts/${name}`)).status).toBe(403)
      costs.push(await world.counter.during(ask))
    }
    // The list of the device's rights is read each time, and nothing is ever looked for in the storage.
    expect(costs).toEqual([1, 1, 1, 1])
    expect(open).not.toHaveBeenCalled()
    listener.deviceId = device.id
    await get(path)
    expect(open).toHaveBeenCalledTimes(1)
    open.mockRestore()
  })

  test('nobody without an identity', async () => {
    listener.deviceId = undefined
    expect((await get(path)).status).toBe(401)
  })

  test('the alias of stock TUF clients follows the hash, not the folders', async () => {
    const alias = await get(`/tuf/targets/fw/gate-2/2.4.1/${sha256}.main.bin`)
    expect(alias.body.equals(bytes)).toBe(true)
    expect((await get(`/tuf/targets/fw/gate-2/2.4.1/main.bin`)).status).toBe(403)
    listener.deviceId = stranger.id
    expect((await get(`/tuf/targets/fw/gate-2/2.4.1/${sha256}.main.bin`)).status).toBe(403)
  })
})

describe('ranges', () => {
  test.each([
    ['bytes=0-99', 0, 100],
    ['bytes=100-', 100, 700_000],
    ['bytes=-50', 699_950, 700_000],
    ['bytes=262100-262200', 262_100, 262_201],
    ['bytes=699999-9999999', 699_999, 700_000],
  ])('%s', async (range, start, end) => {
    const { status, header, body } = await get(path, { Range: range })
    expect(status).toBe(206)
    expect(header('content-range')).toBe(`bytes ${start}-${end - 1}/700000`)
    expect(body.equals(bytes.subarray(start, end))).toBe(true)
  })

  test.each(['bytes=700000-', 'bytes=-0', 'bytes=700000-,-0', tooMany])(
    '%s: 416',
    async (range) => {
      const { status, header, body } = await get(path, { Range: range })
      expect(status).toBe(416)
      expect(header('content-range')).toBe('bytes */700000')
      expect(body).toHaveLength(0)
    },
  )

  test.each(['items=0-1', 'bytes=5-1', 'bytes=a-b', 'bytes'])('%s is ignored', async (range) => {
    expect((await get(path, { Range: range })).status).toBe(200)
  })

  test('If-Range resumes the same bytes and starts anew for others', async () => {
    const same = await get(path, { Range: 'bytes=5-', 'If-Range': etag })
    expect(same.status).toBe(206)
    const other = await get(path, { Range: 'bytes=5-', 'If-Range': '"other"' })
    expect(other.status).toBe(200)
    expect((await get(path, { Range: 'bytes=5-', 'If-Range': `W/${etag}` })).status).toBe(200)
  })

  test('HEAD says how long it is; If-None-Match that nothing changed', async () => {
    const head = await get(path, { Range: 'bytes=0-1' }, 'HEAD')
    expect(head.status).toBe(200)
    expect(head.header('content-length')).toBe('700000')
    expect((await get(path, { 'If-None-Match': etag })).status).toBe(304)
  })
})

test('ranges of one second read the list of rights once', async () => {
  await get(path, { Range: 'bytes=0-0' })
  const statements = await world.counter.during(async () => {
    for (let n = 0; n < 5; n++) await get(path, { Range: `bytes=${n}-${n}` })
  })
  expect(statements).toBeLessThanOrEqual(1)
})

/** Opens a download and reads nothing of it. */
function stall(port: number) {
  const socket = connect(port, '127.0.0.1')
  socket.pause()
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
  return socket
}

async function openWithoutMemory(sha256: string): Promise<OpenArtifact | undefined> {
  const artifact = await world.storage.open(sha256)
  if (!artifact) return undefined
  const { size, read } = artifact
  return { size, read, [Symbol.asyncDispose]: async () => await artifact[Symbol.asyncDispose]() }
}

/** How much of it is in use, and was at most. */
class CountingPool extends BlockPool {
  used = 0
  peak = 0

  override async claim(...asked: Parameters<BlockPool['claim']>): Promise<Block> {
    const block = await super.claim(...asked)
    const { length } = block.buffer
    this.used += length
    this.peak = Math.max(this.peak, this.used)
    let isHeld = true
    return {
      buffer: block.buffer,
      release: (reuse) => {
        if (isHeld) this.used -= length
        isHeld = false
        block.release(reuse)
      },
    }
  }
}

describe('bounds', () => {
  test('79: beyond the bytes in flight a request waits its turn and is then told to come again', async () => {
    await using busy = await listenAsDevice(
      artifactRouter(world.ctx, { maxBytesInFlight: 65_536, maxBlockBytes: 65_536, waitMs: 50 }),
    )
    busy.deviceId = device.id
    const open = vi.spyOn(world.storage, 'open')
    // It reads too slowly for even one block to be free again, once the socket's buffers are full.
    await using _slow = hold()
    await vi.waitFor(() => expect(open).toHaveBeenCalled())
    const reply = await fetch(`${busy.url}${path}`)
    expect(reply.status).toBe(503)
    expect(reply.headers.get('retry-after')).toBeTruthy()
    expect(reply.headers.get('etag')).toBeNull()
    open.mockRestore()

    function hold() {
      open.mockImplementationOnce(async () => ({
        size: bytes.length,
        read: async () => await new Promise<number>(() => {}),
        [Symbol.asyncDispose]: async () => {},
      }))
      const socket = stall(busy.port)
      return { [Symbol.asyncDispose]: async () => void socket.destroy() }
    }
  })

  test('79: a thousand requesters share the bytes in flight, and each is served', async () => {
    const pool = new CountingPool(16_384, { maxBytes: 262_144, maxWaiting: 1_000 })
    const limits = { maxBlockBytes: 16_384, maxPerDevice: 1_000, waitMs: 60_000 }
    // From memory they would hardly be there at the same time.
    const ctx = { ...world.ctx, storage: { ...world.storage, open: openWithoutMemory } }
    await using many = await listenAsDevice(artifactRouter(ctx, limits, pool))
    many.deviceId = device.id
    const range = { Range: 'bytes=100000-165535' }
    const replies = await Promise.all(
      Array.from({ length: 1_000 }, async () => {
        const reply = await fetch(`${many.url}${path}`, { headers: range })
        return Buffer.from(await reply.arrayBuffer())
      }),
    )
    const wanted = bytes.subarray(100_000, 165_536)
    expect(replies.filter((body) => !body.equals(wanted))).toEqual([])
    expect(pool.peak).toBeGreaterThan(16_384)
    expect(pool.peak).toBeLessThanOrEqual(262_144)
    await vi.waitFor(() => expect(pool.used).toBe(0))
  })

  test('one device has so many downloads at once and no more', async () => {
    await using few = await listenAsDevice(artifactRouter(world.ctx, { maxPerDevice: 2 }))
    few.deviceId = device.id
    const { promise: read, resolve } = Promise.withResolvers<number>()
    const open = vi.spyOn(world.storage, 'open').mockImplementation(async () => ({
      size: bytes.length,
      read: async () => await read,
      [Symbol.asyncDispose]: async () => {},
    }))
    const sockets = [stall(few.port), stall(few.port)]
    await vi.waitFor(() => expect(open).toHaveBeenCalledTimes(2))
    const third = await fetch(`${few.url}${path}`)
    expect(third.status).toBe(429)
    open.mockRestore()
    for (const socket of sockets) socket.destroy()
    resolve(0)
    await vi.waitFor(async () => expect((await fetch(`${few.url}${path}`)).status).toBe(200))
  })
})

describe('from memory', () => {
  test('several who take the same are sent it from memory, byte for byte, and it is counted', async () => {
    const pool = new CountingPool(65_536, { maxBytes: 262_144, maxWaiting: 100 })
    const limits = { maxBlockBytes: 65_536, maxPerDevice: 100, waitMs: 60_000 }
    await using many = await listenAsDevice(artifactRouter(world.ctx, limits, pool))
    many.deviceId = device.id
    const inMemory = async () => {
      const { values } = await world.ctx.metrics.artifactReads.get()
      return values.find(({ labels }) => labels.from === 'memory')?.value ?? 0
    }
    const before = await inMemory()
    const replies = await Promise.all(
      Array.from({ length: 50 }, async () => {
        const reply = await fetch(`${many.url}${path}`)
        return Buffer.from(await reply.arrayBuffer())
      }),
    )
    expect(replies.filter((body) => !body.equals(bytes))).toEqual([])
    expect(await inMemory()).toBeGreaterThan(before)
    expect(pool.peak).toBeLessThanOrEqual(262_144)
    await vi.waitFor(() => expect(pool.used).toBe(0))
  })
})

describe('a slow reader', () => {
  test('a socket that takes nothing is closed, and its memory is free for others', async () => {
    const { id: artifactId, sha256: large } = await world.upload(randomBytes(48_000_000))
    const release = await world.publishRelease({ version: '9.9.9', build: 999, artifactId })
    const other = await world.device()
    await world.deploy(other.id, release)
    await other.poll()
    await using strict = await listenAsDevice(
      artifactRouter(world.ctx, {
        maxBytesInFlight: 262_144,
        maxBlockBytes: 262_144,
        blockMs: 100,
        waitMs: 5_000,
      }),
    )
    strict.deviceId = other.id
    const socket = connect(strict.port, '127.0.0.1')
    socket.pause()
    socket.write(`GET /artifacts/${large} HTTP/1.1\r\nHost: x\r\n\r\n`)
    const closed = new Promise<void>((resolve) => void socket.once('close', () => resolve()))
    const reply = await fetch(`${strict.url}/artifacts/${large}`)
    expect((await reply.arrayBuffer()).byteLength).toBe(48_000_000)
    socket.resume()
    await closed
    expect(socket.bytesRead).toBeLessThan(48_000_000)
  })
})
