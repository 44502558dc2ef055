import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { openDirectoryStorage } from '../../server/artifacts/directory-storage.ts'
import { S3Bucket } from '../../server/artifacts/s3-bucket.ts'
import { openS3Storage } from '../../server/artifacts/s3-storage.ts'
import type { ArtifactStorage } from '../../server/artifacts/storage.ts'
import { systemClock } from '../../server/clock.ts'
import type { S3Settings } from '../../server/s3-config.ts'
import { hasS3Server, S3Server } from '../support/s3-server.ts'

// As docs/storage.md says: names are the same everywhere, so any tool moves artifacts.
const timeout = 180_000
const deps = { clock: systemClock, log: pino({ level: 'silent' }) }
/** In one part, and in several. */
const sizes = [70_000, 9 * 1024 * 1024]

let server: S3Server
let one: S3Settings
beforeAll(async () => {
  if (!hasS3Server) return
  server = await S3Server.start()
  await server.makeBucket('one')
  await server.makeBucket('two')
  const redirect = { endpoint: server.url, lifeSeconds: 60 }
  one = server.settings({ bucket: 'one', prefix: 'fleet/', redirect })
}, timeout)
afterAll(async () => {
  if (hasS3Server) await server[Symbol.asyncDispose]()
})

async function keep(storage: ArtifactStorage, bytes: Buffer): Promise<string> {
  const source = async function* () {
    yield bytes
  }
  await using received = await storage.receive(source(), { maxBytes: 2 ** 30 })
  await received.keep()
  return received.sha256
}

async function hashIn(storage: ArtifactStorage, sha256: string): Promise<string | undefined> {
  await using artifact = await storage.open(sha256)
  if (!artifact) return undefined
  const hash = createHash('sha256')
  const buffer = Buffer.alloc(1024 * 1024)
  for (let done = 0; done < artifact.size;) {
    const got = await artifact.read(buffer, done, buffer.length)
    if (got === 0) break
    hash.update(buffer.subarray(0, got))
    done += got
  }
  return hash.digest('hex')
}

/** What the bucket has below its prefix, by name; this store lists to everybody. */
async function namesIn({ bucket, prefix }: S3Settings): Promise<string[]> {
  const listing = await fetch(`${server.url}/${bucket}?list-type=2&prefix=${prefix}`)
  const found = (await listing.text()).matchAll(/<Key>([^<]*)<\/Key>/g)
  return Array.from(found, ([, key = '']) => key.slice(prefix.length))
}

describe.skipIf(!hasS3Server)('artifacts that are copied by their names', () => {
  test('are found in another bucket, below another prefix', { timeout }, async () => {
    await using from = await openS3Storage(one, deps)
    const kept: string[] = []
    for (const size of sizes) kept.push(await keep(from, Buffer.alloc(size, `two ${size}`)))
    const two = server.settings({ bucket: 'two', prefix: 'other/' })
    await using to = await openS3Storage(two, deps)
    for (const sha256 of kept) expect(await hashIn(to, sha256)).toBeUndefined()
    for (const name of await namesIn(one)) {
      const headers = { 'x-amz-copy-source': `/one/fleet/${name}` }
      await fetch(`${server.url}/two/other/${name}`, { method: 'PUT', headers })
    }
    for (const sha256 of kept) expect(await hashIn(to, sha256)).toBe(sha256)
  })

  test(
    'are found in a directory again, and no device is sent away for them',
    { timeout },
    async () => {
      const folder = await mkdtemp(join(tmpdir(), 'fleetseal-s3-'))
      try {
        using bucket = await S3Bucket.open(one)
        await using from = await openS3Storage(one, deps)
        const kept: string[] = []
        for (const size of sizes) kept.push(await keep(from, Buffer.alloc(size, `back ${size}`)))
        for (const name of await namesIn(one)) {
          const size = (await bucket.size(`fleet/${name}`)) ?? 0
          await mkdir(dirname(join(folder, name)), { recursive: true })
          await writeFile(join(folder, name), await bucket.read(`fleet/${name}`, 0, size))
        }
        await using back = await openDirectoryStorage(folder)
        for (const sha256 of kept) expect(await hashIn(back, sha256)).toBe(sha256)

        // A bucket that has nothing yet: what the directory has is sent from here.
        const fallback = { open: back.open }
        await using empty = await openS3Storage({ ...one, prefix: 'empty/' }, { ...deps, fallback })
        for (const sha256 of kept) {
          await using here = await empty.open(sha256)
          await using there = await from.open(sha256)
          expect([here?.link, typeof there?.link]).toEqual([undefined, 'function'])
        }
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    },
  )
})
