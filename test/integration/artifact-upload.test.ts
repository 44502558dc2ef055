import { createHash, randomBytes } from 'node:crypto'
import { open, readdir } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'

let handle: DatabaseHandle
let world: ReleaseWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ReleaseWorld.start(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const digestOf = (bytes: Buffer) =>
  `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`

async function put(
  bytes: Buffer,
  headers: Record<string, string> = {},
  name = 'main.bin',
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${world.api.url}/api/v1/artifacts?name=${name}`, {
    method: 'PUT',
    headers: {
      Authorization: `Bearer ${world.api.keys['release-manager'].secret}`,
      'Content-Type': 'application/octet-stream',
      ...headers,
    },
    body: new Uint8Array(bytes),
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

const incoming = async () => await readdir(join(world.folder, 'artifacts', 'incoming'))
const stored = async () =>
  (await readdir(join(world.folder, 'artifacts'), { recursive: true, withFileTypes: true })).filter(
    (entry) => entry.isFile(),
  ).length

describe('upload', () => {
  test('the same bytes give the same id, once in the storage and once in the audit', async () => {
    const bytes = randomBytes(300_000)
    const first = await put(bytes)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    expect(first).toMatchObject({ status: 201, body: { sha256, size: 300_000, name: 'main.bin' } })
    const again = await put(bytes, {}, 'other-name')
    expect(again).toMatchObject({ status: 201, body: { id: first.body['id'], name: 'main.bin' } })
    expect(await world.call('GET', `/artifacts/${String(first.body['id'])}`)).toEqual(first.body)
    const audit = await world.call('GET', `/audit?subject=${String(first.body['id'])}`)
    expect(audit.items).toHaveLength(1)
    await using artifact = await world.storage.open(sha256)
    const read = Buffer.alloc(300_000)
    await artifact?.read(read, 0, 300_000)
    expect(read.equals(bytes)).toBe(true)
  })

  test('two at the same moment give one artifact', async () => {
    const bytes = randomBytes(100_000)
    const [one, two] = await Promise.all([put(bytes), put(bytes)])
    expect(one?.body['id']).toBe(two?.body['id'])
  })

  test('Repr-Digest is checked: right, wrong, and one that cannot be checked', async () => {
    const bytes = randomBytes(1_000)
    expect((await put(bytes, { 'Repr-Digest': digestOf(bytes) })).status).toBe(201)
    const before = await stored()
    const other = randomBytes(1_000)
    const wrong = await put(other, { 'Repr-Digest': digestOf(bytes) })
    expect(wrong).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
    for (const header of ['sha-512=:AAAA:', 'nonsense', `${digestOf(other)}, ${digestOf(other)}`]) {
      expect((await put(other, { 'Repr-Digest': header })).status).toBe(400)
    }
    expect(await stored()).toBe(before)
    expect(await incoming()).toEqual([])
  })
})

describe('what is no upload', () => {
  test.each([
    [{ 'Content-Type': 'application/json' }, 415],
    [{ 'Content-Type': 'text/plain' }, 415],
    [{ 'Content-Encoding': 'gzip' }, 415],
    [{ 'Content-Type': 'application/octet-stream; charset=binary' }, 201],
  ])('%j: %i', async (headers, status) => {
    const bytes = Buffer.from(`{"${status}":${randomBytes(4).readUInt32BE()}}`)
    expect((await put(bytes, headers)).status).toBe(status)
  })

  test('nothing at all is no artifact, and a viewer brings none', async () => {
    expect((await put(Buffer.alloc(0))).status).toBe(400)
    const key = `Bearer ${world.api.keys.viewer.secret}`
    expect((await put(randomBytes(10), { Authorization: key })).status).toBe(403)
  })

  test('past the limit it is refused, by its header and, without one, while it comes', async () => {
    const { config } = world.ctx
    world.ctx.config = { ...config, maxArtifactBytes: 50_000 }
    const before = await stored()
    expect((await put(randomBytes(50_001))).status).toBe(413)
    async function* endless() {
      for (let n = 0; n < 100; n++) yield randomBytes(10_000)
    }
    const receiving = world.storage.receive(endless(), { maxBytes: 50_000 })
    await expect(receiving).rejects.toMatchObject({ code: 'too-large' })
    expect((await put(randomBytes(50_000))).status).toBe(201)
    world.ctx.config = config
    expect(await stored()).toBe(before + 1)
    expect(await incoming()).toEqual([])
  })
})

describe('what goes wrong on the way', () => {
  test('one that breaks off leaves nothing', async () => {
    const before = await stored()
    const { port } = new URL(world.api.url)
    const socket = connect(Number(port), '127.0.0.1')
    const lines = [
      'PUT /api/v1/artifacts?name=half HTTP/1.1',
      'Host: localhost',
      `Authorization: Bearer ${world.api.keys['release-manager'].secret}`,
      'Content-Type: application/octet-stream',
      'Content-Length: 1000000',
    ]
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
    socket.write(randomBytes(400_000))
    await vi.waitFor(async () => expect(await incoming()).toHaveLength(1))
    socket.destroy()
    await vi.waitFor(async () => expect(await incoming()).toEqual([]))
    expect(await stored()).toBe(before)
    const list = await world.call('GET', '/artifacts')
    expect(list.items?.some(({ name }) => name === 'half')).toBe(false)
  })

  test('a full disk says so and leaves nothing', async () => {
    await using probe = await open('/dev/null')
    const full = Object.assign(new Error('full'), { code: 'ENOSPC' })
    const prototype = Object.getPrototypeOf(probe) as { write: () => Promise<never> }
    const write = vi.spyOn(prototype, 'write').mockRejectedValueOnce(full)
    const reply = await put(randomBytes(1_000))
    write.mockRestore()
    expect(reply).toMatchObject({ status: 507, body: { code: 'storage-full' } })
    expect(await incoming()).toEqual([])
    expect((await put(randomBytes(1_000))).status).toBe(201)
  })
})

describe('the storage', () => {
  test('a slow disk slows the sender down: no more than is written is taken in', async () => {
    let asked = 0
    async function* source() {
      for (let n = 0; n < 40; n++) {
        asked++
        yield Buffer.alloc(1_000, n)
      }
    }
    await using probe = await open('/dev/null')
    const { promise: disk, resolve } = Promise.withResolvers<void>()
    const prototype = Object.getPrototypeOf(probe) as {
      write: (...all: unknown[]) => Promise<unknown>
    }
    const original = prototype.write
    const write = vi.spyOn(prototype, 'write').mockImplementation(async function (
      this: unknown,
      ...all
    ) {
      await disk
      return await original.apply(this, all)
    })
    const receiving = world.storage.receive(source(), { maxBytes: 100_000 })
    await sleep(20)
    expect(asked).toBe(1)
    resolve()
    await using received = await receiving
    write.mockRestore()
    expect(received.size).toBe(40_000)
  })

  test('what a dead process left is gone at the next start', async () => {
    const { openDirectoryStorage } = await import('../../server/artifacts/directory-storage.ts')
    const folder = join(world.folder, 'second')
    await using first = await openDirectoryStorage(folder)
    await first.receive(
      (async function* () {
        yield Buffer.from('never kept')
      })(),
      { maxBytes: 100 },
    )
    expect(await readdir(join(folder, 'incoming'))).toHaveLength(1)
    await using _again = await openDirectoryStorage(folder)
    expect(await readdir(join(folder, 'incoming'))).toEqual([])
  })
})
