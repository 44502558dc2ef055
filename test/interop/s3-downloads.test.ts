import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { artifactRouter } from '../../server/artifacts/device-router.ts'
import { openS3Storage } from '../../server/artifacts/s3-storage.ts'
import { systemClock } from '../../server/clock.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { type DeviceListener, listenAsDevice } from '../support/device-listener.ts'
import { ReleaseWorld } from '../support/release-world.ts'
import { hasS3Server, S3Server } from '../support/s3-server.ts'

const timeout = 180_000
const bytes = Buffer.alloc(9 * 1024 * 1024)
for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE((at * 2_654_435_761) >>> 0, at)
const sha256 = createHash('sha256').update(bytes).digest('hex')

/** The way to the store, which can be cut. */
class Way {
  readonly #sockets = new Set<Socket>()
  readonly #server: Server
  isCut = false

  constructor(port: number) {
    this.#server = createServer((near) => {
      if (this.isCut) return void near.destroy()
      const far = connect(port, '127.0.0.1')
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(one)
        one.on('error', () => {}).on('close', () => other.destroy())
        one.pipe(other)
      }
    })
  }

  async open(): Promise<string> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    const address = this.#server.address()
    if (typeof address !== 'object' || !address) throw new Error('no port')
    return `http://127.0.0.1:${address.port}`
  }

  cut(): void {
    this.isCut = true
    for (const socket of this.#sockets) socket.destroy()
  }

  close(): void {
    this.cut()
    this.#server.close()
  }
}

let handle: DatabaseHandle
let world: ReleaseWorld
let listener: DeviceListener
let server: S3Server
let way: Way
beforeAll(async () => {
  if (!hasS3Server) return
  server = await S3Server.start()
  await server.makeBucket()
  way = new Way(Number(new URL(server.url).port))
  const storage = await openS3Storage(server.settings({ endpoint: await way.open() }), {
    clock: systemClock,
    log: pino({ level: 'silent' }),
  })
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle, { storage })
  const { id: artifactId } = await world.upload(bytes)
  const release = await world.publishRelease({ artifactId })
  const device = await world.device()
  await world.deploy(device.id, release)
  await device.poll()
  listener = await listenAsDevice(artifactRouter(world.ctx))
  listener.deviceId = device.id
}, timeout)
afterAll(async () => {
  if (!hasS3Server) return
  await listener[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
  way.close()
  await server[Symbol.asyncDispose]()
})

async function get(headers: Record<string, string> = {}) {
  return await fetch(`${listener.url}/artifacts/${sha256}`, { headers })
}

describe.skipIf(!hasS3Server)('a download from a bucket', () => {
  test(
    'is released and loaded; when the store goes away it waits, and goes on where it was',
    { timeout },
    async () => {
      const first = await get({ Range: 'bytes=0-999999' })
      expect(first.status).toBe(206)
      const head = Buffer.from(await first.arrayBuffer())

      way.cut()
      const away = await get({ Range: 'bytes=1000000-' })
      expect([away.status, away.headers.get('retry-after')]).toEqual([503, '30'])
      const problem = await away.text()
      expect(problem).toContain('storage-unavailable')
      expect(problem).not.toMatch(/test-key|test-secret|127\.0\.0\.1/)

      way.isCut = false
      const rest = await get({ Range: 'bytes=1000000-', 'If-Range': `"${sha256}"` })
      expect(rest.status).toBe(206)
      const whole = Buffer.concat([head, Buffer.from(await rest.arrayBuffer())])
      expect(whole.equals(bytes)).toBe(true)
    },
  )

  test('by who may not is refused as ever', { timeout }, async () => {
    const { id } = await world.device()
    const before = listener.deviceId
    listener.deviceId = id
    expect((await get()).status).toBe(403)
    listener.deviceId = before
  })
})
