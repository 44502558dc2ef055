import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { zstdCompressSync } from 'node:zlib'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { DiskError } from '../../../device-sim/disk.ts'
import { fetchImage } from '../../../device-sim/update/image.ts'
import { sha256Of } from '../../support/delta-fixture.ts'
import { MemoryDisk } from '../../support/memory-disk.ts'

const image = Buffer.from('text that compresses '.repeat(4_000))
const frame = zstdCompressSync(image)
const files = new Map([image, frame].map((bytes) => [`/artifacts/${sha256Of(bytes)}`, bytes]))

/** A disk with room for so many bytes in all. */
class SmallDisk extends MemoryDisk {
  readonly #room: number

  constructor(room: number) {
    super()
    this.#room = room
  }

  override async writeAt(name: string, bytes: Buffer, position: number): Promise<void> {
    let used = position + bytes.length
    for (const other of await this.list()) {
      if (other !== name) used += (await this.size(other)) ?? 0
    }
    if (used > this.#room) throw new DiskError('no space left')
    await super.writeAt(name, bytes, position)
  }
}

let mirror: { url: string; asked: string[]; close: () => Promise<void> }
beforeEach(async () => {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    response.end(files.get(request.url ?? ''))
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const close = async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
  mirror = { url: `http://127.0.0.1:${port}`, asked, close }
})
afterEach(async () => await mirror.close())

async function fetched(disk: MemoryDisk) {
  const form = { method: 'zstd', sha256: sha256Of(frame), length: frame.length } as const
  const outcome = await fetchImage({
    disk,
    server: () => {
      throw new Error('The mirror has it')
    },
    mirrors: [{ url: mirror.url }],
    link: { isConnected: false, ask: () => {}, listen: () => () => {} },
    wanted: { sha256: sha256Of(image), length: image.length, part: 'part', forms: [form] },
    rules: { minRateBytes: 0, minRateWindowMs: 60_000, delivery: 'https', chunkRepairMs: 1_000 },
    onProgress: () => {},
    signal: new AbortController().signal,
  })
  return { outcome, part: await disk.read('part', image.length), files: await disk.list() }
}

test('with room for both a form is fetched and the image made of it', async () => {
  const { outcome, part } = await fetched(new SmallDisk(image.length + frame.length))
  expect(outcome.done).toBe('whole')
  expect(part?.equals(image)).toBe(true)
  expect(mirror.asked).toEqual([`/artifacts/${sha256Of(frame)}`])
})

test('with room for the image alone it is the image that is fetched', async () => {
  const { outcome, part, files: left } = await fetched(new SmallDisk(image.length))
  expect(outcome).toMatchObject({ done: 'whole', notes: [expect.stringContaining('(disk)')] })
  expect(part?.equals(image)).toBe(true)
  expect(left).toEqual(['part'])
})

test('with room for neither it is the disk that is blamed', async () => {
  const { outcome } = await fetched(new SmallDisk(100))
  expect(outcome).toMatchObject({ done: 'failed', final: false, code: 'disk' })
})
