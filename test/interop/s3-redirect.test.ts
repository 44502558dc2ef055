import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { promisify } from 'node:util'

import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'

import { artifactRouter } from '../../server/artifacts/device-router.ts'
import { openS3Storage } from '../../server/artifacts/s3-storage.ts'
import { systemClock } from '../../server/clock.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { type DeviceListener, listenAsDevice } from '../support/device-listener.ts'
import { ReleaseWorld } from '../support/release-world.ts'
import { hasS3Server, S3Server } from '../support/s3-server.ts'

const timeout = 180_000
const run = promisify(execFile)
const bytes = Buffer.alloc(3_000_000)
for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE((at * 2_654_435_761) >>> 0, at)
const sha256 = createHash('sha256').update(bytes).digest('hex')
const follow = { Prefer: 'respond-redirect' }

let handle: DatabaseHandle
let world: ReleaseWorld
let listener: DeviceListener
let plain: DeviceListener
let server: S3Server
let deviceId: string
beforeAll(async () => {
  if (!hasS3Server) return
  server = await S3Server.start()
  await server.makeBucket()
  const deps = { clock: systemClock, log: pino({ level: 'silent' }) }
  const redirect = { endpoint: server.url, lifeSeconds: 60 }
  const storage = await openS3Storage(server.settings({ prefix: 'fleet/', redirect }), deps)
  const without = await openS3Storage(server.settings({ prefix: 'fleet/' }), deps)
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle, { storage })
  const { id: artifactId } = await world.upload(bytes)
  const release = await world.publishRelease({ artifactId })
  const device = await world.device()
  await world.deploy(device.id, release)
  await device.poll()
  deviceId = device.id
  listener = await listenAsDevice(artifactRouter(world.ctx))
  plain = await listenAsDevice(artifactRouter({ ...world.ctx, storage: without }))
}, timeout)
afterAll(async () => {
  if (!hasS3Server) return
  await plain[Symbol.asyncDispose]()
  await listener[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})
beforeEach(() => {
  if (hasS3Server) listener.deviceId = plain.deviceId = deviceId
})

async function get(headers: Record<string, string> = {}, { to = listener, method = 'GET' } = {}) {
  const url = `${to.url}/artifacts/${sha256}`
  return await fetch(url, { method, headers, redirect: 'manual' })
}

async function answers(): Promise<Record<string, number>> {
  const { values } = await world.ctx.metrics.artifactAnswers.get()
  return Object.fromEntries(values.map(({ labels, value }) => [String(labels.way), value]))
}

describe.skipIf(!hasS3Server)('a link to the store', () => {
  test('is what a device gets that asks for it, and counted', { timeout }, async () => {
    const { redirect: before = 0 } = await answers()
    const response = await get(follow)
    expect(response.status).toBe(307)
    expect(await response.text()).toBe('')
    const link = new URL(response.headers.get('location') ?? '')
    expect(link.origin).toBe(server.url)
    expect(link.pathname).toBe(
      `/artifacts/fleet/${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}`,
    )
    expect(link.searchParams.get('X-Amz-Expires')).toBe('60')
    // A header that only our own client knows to send would make it useless.
    expect(link.searchParams.get('X-Amz-SignedHeaders')).toBe('host')
    expect(link.searchParams.get('response-cache-control')).toBe(
      'private, max-age=31536000, immutable',
    )
    expect(link.href).not.toContain('test-secret')
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(response.headers.get('preference-applied')).toBe('respond-redirect')
    expect((await answers())['redirect']).toBe(before + 1)

    const found = await fetch(link)
    expect(found.headers.get('content-type')).toBe('application/octet-stream')
    expect(Buffer.from(await found.arrayBuffer()).equals(bytes)).toBe(true)
    const unsigned = await fetch(`${link.origin}${link.pathname}`)
    expect(unsigned.status).toBe(403)
  })

  test('curl follows it, and goes on in the middle', { timeout }, async () => {
    const url = `${listener.url}/artifacts/${sha256}`
    const args = ['-sS', '--fail', '-L', '-H', 'Prefer: respond-redirect', '-w', '%{stderr}%{json}']
    const { stdout, stderr } = await run('curl', [...args, '-r', '1000000-', url], {
      encoding: 'buffer',
      maxBuffer: 2 ** 23,
    })
    const said: unknown = JSON.parse(stderr.toString())
    expect(said).toMatchObject({ http_code: 206, num_redirects: 1 })
    expect(stdout.equals(bytes.subarray(1_000_000))).toBe(true)
  })
})

describe.skipIf(!hasS3Server)('a link to the store is no answer', () => {
  test.each<[string, Record<string, string>, number]>([
    ['does not ask for it', {}, 200],
    ['prefers something else', { Prefer: 'respond-async, return=minimal' }, 200],
    [
      'has our tag, which the store does not know',
      { ...follow, Range: 'bytes=0-9', 'If-Range': `"${sha256}"` },
      206,
    ],
    [
      'wants several ranges, which the store does not send',
      { ...follow, Range: 'bytes=0-9,50-59' },
      206,
    ],
    ['says a range that counts as none', { ...follow, Range: 'lines=1-2' }, 200],
    ['has a condition', { ...follow, 'If-Match': `"${sha256}"` }, 200],
  ])('to a request that %s', { timeout }, async (_what, headers, status) => {
    const response = await get(headers)
    expect([response.status, response.headers.get('location')]).toEqual([status, null])
    await response.arrayBuffer()
  })

  test('to HEAD, nor for a range that is not there', { timeout }, async () => {
    expect((await get(follow, { method: 'HEAD' })).status).toBe(200)
    const beyond = await get({ ...follow, Range: `bytes=${bytes.length}-` })
    expect([beyond.status, beyond.headers.get('location')]).toEqual([416, null])
  })

  test('to whoever may not download it: that is as ever', { timeout }, async () => {
    const { id } = await world.device()
    listener.deviceId = id
    const [asking, silent] = [await get(follow), await get()]
    expect([asking.status, silent.status]).toEqual([403, 403])
    expect(asking.headers.get('location')).toBeNull()
    expect(await asking.text()).toBe(await silent.text())
    listener.deviceId = undefined
    expect((await get(follow)).headers.get('location')).toBeNull()
  })

  test('to anybody where it is not switched on', { timeout }, async () => {
    const response = await get(follow, { to: plain })
    expect([response.status, response.headers.get('location')]).toEqual([200, null])
    expect(Buffer.from(await response.arrayBuffer()).equals(bytes)).toBe(true)
  })
})
