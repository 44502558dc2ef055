import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { openDirectoryStorage } from '../../server/artifacts/directory-storage.ts'
import { S3Bucket } from '../../server/artifacts/s3-bucket.ts'
import { openS3Storage, removeStale } from '../../server/artifacts/s3-storage.ts'
import type { ArtifactStorage } from '../../server/artifacts/storage.ts'
import { systemClock } from '../../server/clock.ts'
import { ConfigError } from '../../server/config.ts'
import { hasS3Server, S3Server } from '../support/s3-server.ts'

const timeout = 180_000
const log = pino({ level: 'silent' })
const deps = { clock: systemClock, log }
const mib = 1024 * 1024

/** Bytes that differ at every place where a part or a block may begin. */
function pattern(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size)
  for (let at = 0; at + 4 <= size; at += 4)
    bytes.writeUInt32LE((at * 2_654_435_761 + seed) >>> 0, at)
  return bytes
}
const sha256Of = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

async function* inChunks(bytes: Buffer, chunkBytes = 100_000): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes)
}

async function readAll(storage: ArtifactStorage, sha256: string): Promise<Buffer | undefined> {
  await using artifact = await storage.open(sha256)
  if (!artifact) return undefined
  const bytes = Buffer.alloc(artifact.size)
  for (let done = 0; done < bytes.length;) {
    const got = await artifact.read(bytes.subarray(done), done, 256 * 1024)
    if (got === 0) break
    done += got
  }
  return bytes
}

// Against a real store in a process of its own; without one (test/support/s3-server.ts) there is nothing to try it with.
let server: S3Server
let storage: ArtifactStorage
let bucket: S3Bucket
beforeAll(async () => {
  if (!hasS3Server) return
  server = await S3Server.start()
  await server.makeBucket()
  storage = await openS3Storage(server.settings(), deps)
  bucket = await S3Bucket.open(server.settings())
}, timeout)
afterAll(async () => {
  if (!hasS3Server) return
  bucket[Symbol.dispose]()
  await storage[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

async function keep(bytes: Buffer, into = storage): Promise<string> {
  await using received = await into.receive(inChunks(bytes), { maxBytes: 2 ** 30 })
  expect(received).toMatchObject({ sha256: sha256Of(bytes), size: bytes.length })
  await received.keep()
  return received.sha256
}

describe.skipIf(!hasS3Server)('an upload to a bucket', () => {
  test.each([1, 8 * mib - 1, 8 * mib, 8 * mib + 1, 40 * mib + 3])(
    '%i bytes come back as they were, and nothing else is left in the bucket',
    async (size) => {
      const bytes = pattern(size, size)
      const sha256 = await keep(bytes)
      expect((await readAll(storage, sha256))?.equals(bytes)).toBe(true)
      expect(await bucket.list('incoming/')).toEqual({ uploads: [], objects: [] })
    },
    timeout,
  )

  test(
    'what arrived is not there before it is kept, and never when it is not',
    { timeout },
    async () => {
      const bytes = pattern(9 * mib, 77)
      {
        await using received = await storage.receive(inChunks(bytes), { maxBytes: 2 ** 30 })
        expect(received.size).toBe(bytes.length)
        expect((await bucket.list('incoming/')).uploads).toHaveLength(1)
        expect(await storage.open(received.sha256)).toBeUndefined()
      }
      expect(await storage.open(sha256Of(bytes))).toBeUndefined()
      expect(await bucket.list('incoming/')).toEqual({ uploads: [], objects: [] })
    },
  )

  test('an upload that breaks off, or is too large, leaves nothing', { timeout }, async () => {
    async function* broken() {
      yield pattern(9 * mib, 78)
      throw new Error('the sender is gone')
    }
    await expect(storage.receive(broken(), { maxBytes: 2 ** 30 })).rejects.toThrow('the sender')
    await expect(
      storage.receive(inChunks(pattern(10 * mib, 79)), { maxBytes: 9 * mib }),
    ).rejects.toMatchObject({ code: 'too-large' })
    expect(await bucket.list('incoming/')).toEqual({ uploads: [], objects: [] })
  })

  test('two processes keep the same bytes at once, and either twice', { timeout }, async () => {
    const bytes = pattern(9 * mib, 80)
    await using other = await openS3Storage(server.settings(), deps)
    await using one = await storage.receive(inChunks(bytes), { maxBytes: 2 ** 30 })
    await using two = await other.receive(inChunks(bytes), { maxBytes: 2 ** 30 })
    await Promise.all([one.keep(), two.keep(), one.keep()])
    await two.keep()
    expect((await readAll(other, sha256Of(bytes)))?.equals(bytes)).toBe(true)
  })
})

describe.skipIf(!hasS3Server)('a bucket', () => {
  test('any stretch is the right one, across blocks and at the end', { timeout }, async () => {
    const bytes = pattern(3 * mib + 5, 81)
    await using artifact = await storage.open(await keep(bytes))
    for (const [position, length] of [
      [0, 10],
      [mib - 3, 7],
      [2 * mib - 1, mib + 6],
      [3 * mib + 4, 100],
      [3 * mib + 5, 10],
    ] as const) {
      const buffer = Buffer.alloc(length)
      const got = await artifact?.read(buffer, position, length)
      expect(buffer.subarray(0, got)).toEqual(bytes.subarray(position, position + length))
    }
  })
})

describe.skipIf(!hasS3Server)('beside others', () => {
  test(
    'what began long ago and nobody waits for is removed; what began now is not',
    { timeout },
    async () => {
      const id = await bucket.beginUpload('incoming/left')
      await bucket.uploadPart('incoming/left', id, { number: 1, bytes: pattern(1_000, 1) })
      await bucket.put('incoming/whole', pattern(1_000, 2))
      await removeStale(bucket, new Date(0))
      const before = await bucket.list('incoming/')
      expect([before.uploads.length, before.objects.length]).toEqual([1, 1])
      await Promise.all([
        removeStale(bucket, new Date('2100-01-01')),
        removeStale(bucket, new Date('2100-01-01')),
      ])
      expect(await bucket.list('incoming/')).toEqual({ uploads: [], objects: [] })
    },
  )

  test(
    'what is in the directory still is served, until the bucket has it',
    { timeout },
    async () => {
      const folder = await mkdtemp(join(tmpdir(), 'fleetseal-s3-'))
      try {
        await using fallback = await openDirectoryStorage(folder)
        const bytes = pattern(5_000, 82)
        const sha256 = await keep(bytes, fallback)
        expect(await readAll(storage, sha256)).toBeUndefined()
        await using both = await openS3Storage(server.settings({ prefix: 'b/' }), {
          ...deps,
          fallback,
        })
        expect((await readAll(both, sha256))?.equals(bytes)).toBe(true)
        await keep(bytes, both)
        await rm(folder, { recursive: true })
        expect((await readAll(both, sha256))?.equals(bytes)).toBe(true)
        expect(await readAll(storage, sha256)).toBeUndefined()
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    },
  )

  test(
    'a bucket that is not there is refused at the start, with words and without keys',
    { timeout },
    async () => {
      const opened = openS3Storage(server.settings({ bucket: 'another' }), deps)
      await expect(opened).rejects.toThrow(ConfigError)
      await expect(opened).rejects.toThrow(/bucket another \(404.*FLEETSEAL_S3_BUCKET/)
      await expect(opened).rejects.not.toThrow(/test-key|test-secret/)
    },
  )
})

describe.skipIf(!hasS3Server)('a store that went away', () => {
  test('is no reason not to start; what needs it is refused for now', { timeout }, async () => {
    await using server = await S3Server.start()
    await server.makeBucket()
    await server.stop()
    await using storage = await openS3Storage(server.settings(), deps)
    const busy = {
      code: 'busy',
      facts: { reason: 'storage-unavailable', retryAfterSeconds: 30 },
    }
    await expect(storage.open('a'.repeat(64))).rejects.toMatchObject(busy)
    await using received = await storage.receive(inChunks(pattern(10, 1)), { maxBytes: 100 })
    await expect(received.keep()).rejects.toMatchObject(busy)
  })
})
