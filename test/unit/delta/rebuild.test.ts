import { zstdCompressSync } from 'node:zlib'

import { beforeAll, beforeEach, describe, expect, test } from 'vitest'

import { rebuild } from '../../../device-sim/update/delta.ts'
import { inflate } from '../../../device-sim/update/inflate.ts'
import type { Form } from '../../../device-sim/update/transfer.ts'
import { deltaEntryBytes, DeltaError, deltaHeaderBytes } from '../../../server/protocol/delta-z1.ts'
import { type MadeDelta, makeDelta, sha256Of, twoImages } from '../../support/delta-fixture.ts'
import { MemoryDisk, PowerCut } from '../../support/memory-disk.ts'

// updates.md section 8, 80 to 90: what the device makes of a delta.
const { old, next } = twoImages()
const wanted = { sha256: sha256Of(next), length: next.length, part: 'main-b.part' }
const file = 'main-b.part.delta-z1'
let made: MadeDelta
beforeAll(async () => {
  made = await makeDelta(old, next)
})
let disk: MemoryDisk
beforeEach(async () => {
  disk = new MemoryDisk()
  await lay('main-a.img', old)
  await lay(file, made.bytes)
})

async function lay(name: string, bytes: Buffer): Promise<void> {
  await disk.write(name, bytes)
  await disk.fsync(name)
  await disk.fsyncDir()
}

function formOf(bytes = made.bytes): Form {
  const { index, base } = made.promised
  return {
    method: 'delta-z1',
    sha256: sha256Of(bytes),
    length: bytes.length,
    base: { ...base, file: 'main-a.img' },
    index: { length: index.length, sha256: sha256Of(bytes.subarray(0, index.length)) },
  }
}

const run = async (form = formOf(), signal = new AbortController().signal) =>
  await rebuild({ disk, wanted, form, file, onProgress: () => {}, signal })
const part = async () => await disk.read(wanted.part, next.length)
const fault = (code: string) => ({ name: 'DeltaError', code })

test('the image is rebuilt from the one that runs', async () => {
  await run()
  expect((await part())?.equals(next)).toBe(true)
})

describe('a delta is of no use', () => {
  test('80 when the base is not the image that it is made for', async () => {
    await lay('main-a.img', Buffer.concat([old, Buffer.from('x')]))
    await expect(run()).rejects.toMatchObject(fault('delta-base'))
    const flipped = Buffer.from(old)
    // No block looks at it: zstd alone would not notice.
    flipped[0] = (flipped[0] ?? 0) ^ 1
    await lay('main-a.img', flipped)
    await expect(run()).rejects.toMatchObject(fault('delta-base'))
    expect(await disk.size(wanted.part)).toBeUndefined()
  })

  test('81 when its index is not the signed one: no frame is touched', async () => {
    const bytes = Buffer.from(made.bytes)
    bytes[deltaHeaderBytes + 20] = 0
    await lay(file, bytes)
    await expect(run(formOf())).rejects.toMatchObject(fault('delta-index'))
    expect(await disk.size(wanted.part)).toBeUndefined()
  })

  test('86 when a block has another hash; the blocks before it are kept', async () => {
    const bytes = Buffer.from(made.bytes)
    bytes[deltaHeaderBytes + 3 * deltaEntryBytes + 20] = 0
    await lay(file, bytes)
    await expect(run(formOf(bytes))).rejects.toMatchObject(fault('delta-hash'))
    expect(await disk.size(wanted.part)).toBe(3 * 16_384)
  })

  test('88 when every block is right and the image is not the one that is wanted', async () => {
    const other = Buffer.concat([next.subarray(0, -1), Buffer.from([next.at(-1) === 0 ? 1 : 0])])
    const bytes = Buffer.from((await makeDelta(old, other)).bytes)
    // It says to be the wanted one.
    bytes.write(wanted.sha256, 64, 32, 'hex')
    await lay(file, bytes)
    await expect(run(formOf(bytes))).rejects.toMatchObject(fault('delta-hash'))
    expect(await disk.size(wanted.part)).toBeUndefined()
  })
})

test('whatever byte of a delta is another, and signed so: the image comes of it, or nothing does', async () => {
  let refused = 0
  for (let n = 0; n < 300; n++) {
    // Header, entries and frames: every 7,919th byte, then from the start again.
    const at = (n * 7_919) % made.bytes.length
    const bytes = Buffer.from(made.bytes)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (n % 8))
    await lay(file, bytes)
    await run(formOf(bytes)).catch((error: unknown) => {
      expect(error).toBeInstanceOf(DeltaError)
      refused += 1
    })
    const size = await disk.size(wanted.part)
    if (size === next.length) expect((await part())?.equals(next)).toBe(true)
    if (size !== undefined) await disk.remove(wanted.part)
  }
  expect(refused).toBeGreaterThan(250)
})

describe('a rebuilding goes on', () => {
  test('89 after every block at which it was stopped, with what is right', async () => {
    const blocks = made.delta.blocks.length
    for (let done = 0; done <= blocks; done++) {
      await lay(wanted.part, next.subarray(0, done * 16_384))
      const before = disk.calls
      await run()
      expect((await part())?.equals(next)).toBe(true)
      // A write for each block that was missing, then two that make them durable.
      expect(disk.calls - before).toBe(blocks - done + 2)
    }
  })

  test('89 behind the last right block, when what is there is torn or of something else', async () => {
    const torn = Buffer.from(next.subarray(0, 80_000))
    torn.fill(0, 40_000, 40_512)
    await lay(wanted.part, torn)
    const before = disk.calls
    await run()
    expect((await part())?.equals(next)).toBe(true)
    expect(disk.calls - before).toBe(made.delta.blocks.length - 2 + 2)
    await lay(wanted.part, Buffer.concat([next, next]))
    await run()
    expect((await part())?.equals(next)).toBe(true)
  })

  test('89 after a power cut at any write, whatever the disk lost', async () => {
    const writes = made.delta.blocks.length + 2
    for (const loss of ['drop', 'keep', 'tear'] as const) {
      for (let cut = 1; cut <= writes; cut++) {
        if ((await disk.size(wanted.part)) !== undefined) await disk.remove(wanted.part)
        await disk.fsyncDir()
        disk.cutAt = disk.calls + cut
        await expect(run()).rejects.toBeInstanceOf(PowerCut)
        disk.restart(loss)
        await run()
        expect((await part())?.equals(next)).toBe(true)
      }
    }
  })

  test('not while it is told to stop', async () => {
    await expect(run(formOf(), AbortSignal.abort())).rejects.toMatchObject({ name: 'Interruption' })
  })
})

describe('the whole image as one zstd frame', () => {
  const inflating = async (bytes: Buffer) => {
    await lay(file, bytes)
    const signal = new AbortController().signal
    await inflate({ disk, wanted, file, onProgress: () => {}, signal })
  }

  test('is decompressed', async () => {
    await inflating(zstdCompressSync(next))
    expect((await part())?.equals(next)).toBe(true)
  })

  test('84 that expands beyond the image is stopped there', async () => {
    const bomb = zstdCompressSync(Buffer.alloc(50_000_000))
    await expect(inflating(bomb)).rejects.toMatchObject({ code: 'endless-data' })
    expect((await disk.size(wanted.part)) ?? 0).toBeLessThanOrEqual(next.length)
  })

  test.each([
    ['of another image', zstdCompressSync(old), 'hash'],
    ['of nothing', zstdCompressSync(Buffer.alloc(0)), 'hash'],
    ['85 behind a skippable frame', Buffer.from('5e2a4d1804000000deadbeef', 'hex'), 'hash'],
    ['cut short', zstdCompressSync(next).subarray(0, -5), 'zstd'],
    ['that is none', old, 'zstd'],
  ])('%s is of no use', async (_what, bytes, code) => {
    await expect(inflating(bytes)).rejects.toMatchObject({ name: 'UnusableForm', code })
    expect(await disk.size(wanted.part)).not.toBe(next.length)
  })
})
