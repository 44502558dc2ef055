import { execFile, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { artifactRouter } from '../../server/artifacts/device-router.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { type DeviceListener, listenAsDevice } from '../support/device-listener.ts'
import { ReleaseWorld } from '../support/release-world.ts'

const bytes = randomBytes(700_000)
const sha256 = createHash('sha256').update(bytes).digest('hex')
const etag = `"${sha256}"`
const path = `/artifacts/${sha256}`

let handle: DatabaseHandle
let world: ReleaseWorld
let listener: DeviceListener
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.ready(handle)
  const { id: artifactId } = await world.upload(bytes)
  const release = await world.publishRelease({ artifactId })
  const device = await world.device()
  await world.deploy(device.id, release)
  await device.poll()
  listener = await listenAsDevice(artifactRouter(world.ctx))
  listener.deviceId = device.id
})
afterAll(async () => {
  await listener[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

async function get(headers: Record<string, string> = {}, method = 'GET') {
  const response = await fetch(`${listener.url}${path}`, { method, headers })
  const body = Buffer.from(await response.arrayBuffer())
  return { status: response.status, header: (name: string) => response.headers.get(name), body }
}

/** The parts of a `multipart/byteranges` body: the `Content-Range` of each, and its bytes. */
function partsIn(contentType: string | null, body: Buffer): { range: string; bytes: Buffer }[] {
  const boundary = /^multipart\/byteranges; boundary=([0-9a-f]{48})$/.exec(contentType ?? '')?.[1]
  if (boundary === undefined) throw new Error(`not of several parts: ${contentType}`)
  // Each byte a character, so that positions are those of the body.
  const pieces = `\r\n${body.toString('latin1')}`.split(`\r\n--${boundary}`)
  expect([pieces[0], pieces.at(-1)]).toEqual(['', '--\r\n'])
  return pieces.slice(1, -1).map((piece) => {
    const headEnd = piece.indexOf('\r\n\r\n')
    const range = /\r\nContent-Range: (.*)$/.exec(piece.slice(0, headEnd))?.[1] ?? ''
    return { range, bytes: Buffer.from(piece.slice(headEnd + 4), 'latin1') }
  })
}

describe('several ranges', () => {
  test('are several parts, also larger ones than a block', async () => {
    const { status, header, body } = await get({ Range: 'bytes=0-1,100000-599999,-7' })
    expect(status).toBe(206)
    expect([header('content-range'), header('etag')]).toEqual([null, etag])
    expect(header('content-length')).toBe(String(body.length))
    expect(partsIn(header('content-type'), body)).toEqual([
      { range: 'bytes 0-1/700000', bytes: bytes.subarray(0, 2) },
      { range: 'bytes 100000-599999/700000', bytes: bytes.subarray(100_000, 600_000) },
      { range: 'bytes 699993-699999/700000', bytes: bytes.subarray(699_993) },
    ])
  })

  test('never cost more than the whole: what overlaps is sent once, and heads do not add up', async () => {
    const same = await get({ Range: `bytes=${Array(16).fill('0-').join(',')}` })
    expect([same.status, same.body.length]).toEqual([206, 700_000])
    expect(same.header('content-range')).toBe('bytes 0-699999/700000')
    // All but one byte in two parts: with their heads that is more than there is.
    const nearly = await get({ Range: 'bytes=0-350000,350002-' })
    expect([nearly.status, nearly.header('content-length')]).toEqual([200, '700000'])
    expect(nearly.body.equals(bytes)).toBe(true)
  })

  test('and If-Range: those of the same bytes, else the whole; HEAD knows none', async () => {
    const Range = 'bytes=0-1,5-9'
    expect((await get({ Range, 'If-Range': etag })).status).toBe(206)
    const other = await get({ Range, 'If-Range': '"other"' })
    expect([other.status, other.body.length]).toEqual([200, 700_000])
    const head = await get({ Range }, 'HEAD')
    expect([head.status, head.header('content-length')]).toEqual([200, '700000'])
    expect((await get({ Range, 'If-Match': '"other"' })).status).toBe(412)
  })

  const hasCurl = spawnSync('curl', ['--version']).status === 0
  test.skipIf(!hasCurl)('curl -r 0-1,5-9 takes what it asked for', async () => {
    const run = promisify(execFile)
    const args = ['-s', '-i', '-r', '0-1,5-9', `${listener.url}${path}`]
    const { stdout } = await run('curl', args, { encoding: 'latin1' })
    const headEnd = stdout.indexOf('\r\n\r\n')
    expect(stdout).toMatch(/^HTTP\/1\.1 206 /)
    const type = /^content-type: (.*?)\r?$/im.exec(stdout.slice(0, headEnd))?.[1] ?? null
    expect(partsIn(type, Buffer.from(stdout.slice(headEnd + 4), 'latin1'))).toEqual([
      { range: 'bytes 0-1/700000', bytes: bytes.subarray(0, 2) },
      { range: 'bytes 5-9/700000', bytes: bytes.subarray(5, 10) },
    ])
  })
})
