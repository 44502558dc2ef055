import { createHash } from 'node:crypto'

import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'

import { artifactRouter } from '../../server/artifacts/device-router.ts'
import { openS3Storage } from '../../server/artifacts/s3-storage.ts'
import type { ArtifactStorage } from '../../server/artifacts/storage.ts'
import { systemClock } from '../../server/clock.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { lookAtStorage } from '../../server/doctor/examine-storage.ts'
import { createReadiness } from '../../server/http/readiness.ts'
import { createTestDatabase } from '../support/database.ts'
import { type DeviceListener, listenAsDevice } from '../support/device-listener.ts'
import { ReleaseWorld } from '../support/release-world.ts'
import { hasS3Server, S3Server } from '../support/s3-server.ts'

const timeout = 180_000
const deps = { clock: systemClock, log: pino({ level: 'silent' }) }
const bytes = Buffer.alloc(9 * 1024 * 1024, 'fleetseal ')
const sha256 = createHash('sha256').update(bytes).digest('hex')
const busy = { code: 'busy', facts: { reason: 'storage-unavailable', retryAfterSeconds: 30 } }

/** Shorter than in a server, so that nobody waits for the real ones. */
const patience = { askMs: 5_000, transferMs: 6_000 }

async function* inChunks(all: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < all.length; at += 500_000) yield all.subarray(at, at + 500_000)
}

async function keep(storage: ArtifactStorage, all: Buffer): Promise<void> {
  await using received = await storage.receive(inChunks(all), { maxBytes: 2 ** 30 })
  await received.keep()
}

let handle: DatabaseHandle
let world: ReleaseWorld
let listener: DeviceListener
let server: S3Server
/** With the short deadlines; that of the world has the real ones. */
let storage: ArtifactStorage
beforeAll(async () => {
  if (!hasS3Server) return
  server = await S3Server.start()
  await server.makeBucket()
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle, {
    storage: await openS3Storage(server.settings(), deps),
  })
  storage = await openS3Storage(server.settings(), { ...deps, patience })
  const { id: artifactId } = await world.upload(bytes)
  const release = await world.publishRelease({ artifactId })
  const device = await world.device()
  await world.deploy(device.id, release)
  await device.poll()
  listener = await listenAsDevice(artifactRouter({ ...world.ctx, storage }))
  listener.deviceId = device.id
}, timeout)
afterAll(async () => {
  if (!hasS3Server) return
  server.signal('SIGCONT')
  await listener[Symbol.asyncDispose]()
  await storage[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const readiness = async () => await createReadiness({ ...world.ctx, storage })()
const doctor = async () => await lookAtStorage({ storage })

describe.skipIf(!hasS3Server)('a store that takes connections and answers nothing', () => {
  test(
    'every upload and download ends with "later"; devices and readiness go on, and so does all when it answers again',
    { timeout },
    async () => {
      expect(storage.remote?.state()).toBe('ok')
      expect(await doctor()).toMatchObject([{ check: 'storage', level: 'ok', fix: null }])
      const before = await readiness()
      expect(before.storage).toBe('ok')
      await using artifact = await storage.open(sha256)
      expect(artifact?.size).toBe(bytes.length)

      server.signal('SIGSTOP')
      const [download, ...others] = await Promise.all([
        fetch(`${listener.url}/artifacts/${sha256}`),
        expect(storage.open(sha256)).rejects.toMatchObject(busy),
        expect(artifact?.read(Buffer.alloc(1_000), 0, 1_000)).rejects.toMatchObject(busy),
        expect(keep(storage, Buffer.from('a small one'))).rejects.toMatchObject(busy),
        expect(keep(storage, Buffer.alloc(17 * 1024 * 1024, 1))).rejects.toMatchObject(busy),
      ])
      expect(others).toHaveLength(4)
      expect([download.status, download.headers.get('retry-after')]).toEqual([503, '30'])
      expect(await download.text()).toContain('storage-unavailable')

      expect(await readiness()).toEqual({ ...before, storage: 'degraded' })
      const [finding] = await doctor()
      expect(finding).toMatchObject({ check: 'storage', level: 'error' })
      expect(finding?.fix).toContain('FLEETSEAL_S3_ENDPOINT')
      expect(JSON.stringify(finding)).not.toMatch(/test-key|test-secret/)

      server.signal('SIGCONT')
      // Nobody uses it: it is looked for.
      await vi.waitFor(() => expect(storage.remote?.state()).toBe('ok'), {
        timeout: 90_000,
        interval: 200,
      })
      expect((await readiness()).storage).toBe('ok')
      const whole = await fetch(`${listener.url}/artifacts/${sha256}`)
      expect(whole.status).toBe(200)
      expect(Buffer.from(await whole.arrayBuffer()).equals(bytes)).toBe(true)
    },
  )

  test('keeps no server from starting', { timeout }, async () => {
    server.signal('SIGSTOP')
    await using other = await openS3Storage(server.settings(), { ...deps, patience })
    expect(other.remote?.state()).toBe('degraded')
    server.signal('SIGCONT')
  })
})
