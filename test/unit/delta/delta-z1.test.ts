import { constants, zstdCompressSync } from 'node:zlib'

import { beforeAll, describe, expect, test } from 'vitest'

import {
  decodeDeltaBlock,
  deltaEntryBytes,
  deltaHeaderBytes,
  parseDeltaIndex,
} from '../../../server/protocol/delta-z1.ts'
import { inspectFrame } from '../../../server/protocol/zstd-frame.ts'
import {
  type MadeDelta,
  makeDelta,
  noise,
  promiseOf,
  sha256Of,
  twoImages,
} from '../../support/delta-fixture.ts'

// updates.md section 8, the delta cases that the format itself decides; test/unit/delta/rebuild.test.ts has those of the device.
const { old, next } = twoImages()
let made: MadeDelta
beforeAll(async () => {
  made = await makeDelta(old, next)
})

/** Changes header or entries, and has the promise follow: the director would have signed that. */
function changed(change: (index: Buffer) => void, length = made.bytes.length) {
  const { length: indexLength } = made.promised.index
  const bytes = Buffer.from(made.bytes)
  change(bytes)
  const promised = { ...promiseOf(bytes, indexLength, { old, next }), length }
  return () => parseDeltaIndex(bytes.subarray(0, indexLength), promised)
}

const entry = (number: number) => deltaHeaderBytes + number * deltaEntryBytes
const code = (found: string) => expect.objectContaining({ name: 'DeltaError', code: found })

describe('the index', () => {
  test('says of every block where it stands, and the frames make up the file', () => {
    const { delta, bytes } = made
    expect(delta.blocks).toHaveLength(Math.ceil(next.length / 16_384))
    const blocks = delta.blocks.map(
      ({ frameAt, frameLength, windowOffset, windowLength, ...block }) =>
        decodeDeltaBlock(
          bytes.subarray(frameAt, frameAt + frameLength),
          old.subarray(windowOffset, windowOffset + windowLength),
          block,
        ),
    )
    expect(Buffer.concat(blocks).equals(next)).toBe(true)
    expect(bytes.length).toBeLessThan(next.length / 10)
  })

  test('is the same bytes again for the same images', async () => {
    expect((await makeDelta(old, next)).bytes.equals(made.bytes)).toBe(true)
  })

  test('81 of another hash is refused before it is read, the right one is read', () => {
    const { promised, bytes } = made
    const index = bytes.subarray(0, promised.index.length)
    const wrong = { ...promised, index: { ...promised.index, sha256: '0'.repeat(64) } }
    expect(() => parseDeltaIndex(index, wrong)).toThrow(code('delta-index'))
    expect(() => parseDeltaIndex(index.subarray(1), promised)).toThrow(code('delta-index'))
    expect(parseDeltaIndex(index, promised).newLength).toBe(next.length)
  })

  test('80 for another base than promised is refused', () => {
    expect(changed((index) => index.writeUInt8(1, 40))).toThrow(code('delta-base'))
    expect(changed((index) => index.writeBigUInt64BE(5n, 16))).toThrow(code('delta-base'))
    expect(changed(() => {})().oldSha256).toBe(sha256Of(old))
  })

  test('82 with a window beyond the old image is refused, one that ends with it is not', () => {
    const offset = (at: bigint) => (index: Buffer) => index.writeBigUInt64BE(at, entry(2))
    expect(changed(offset(BigInt(old.length - 65_535)))).toThrow(code('delta-window'))
    expect(changed(offset(2n ** 63n))).toThrow(code('delta-window'))
    expect(changed((index) => index.writeUInt32BE(0xff_ff_ff_ff, entry(2) + 8))).toThrow(
      code('delta-window'),
    )
    const last = changed(offset(BigInt(old.length - 65_536)))().blocks[2]
    expect(last?.windowOffset).toBe(old.length - 65_536)
  })
})

describe('an index that does not add up', () => {
  test.each([
    ['a block less', (index: Buffer) => index.writeUInt32BE(6, 12)],
    ['a block more', (index: Buffer) => index.writeUInt32BE(8, 12)],
    ['blocks of no size', (index: Buffer) => index.writeUInt32BE(0, 8)],
    ['blocks of 4 GB', (index: Buffer) => index.writeUInt32BE(0xff_ff_ff_ff, 8)],
    ['another new length', (index: Buffer) => index.writeBigUInt64BE(1n, 24)],
    ['another new image', (index: Buffer) => index.writeUInt8(1, 70)],
    ['a frame of no length', (index: Buffer) => index.writeUInt32BE(0, entry(1) + 12)],
    [
      'a frame longer than its block',
      (index: Buffer) => index.writeUInt32BE(20_000, entry(1) + 12),
    ],
  ])('83 with %s is refused', (_what, change) => {
    expect(changed(change)).toThrow(code('delta-blocks'))
  })

  test('83 with frames that do not make up the file is refused', () => {
    expect(changed(() => {}, made.bytes.length + 1)).toThrow(code('delta-blocks'))
    expect(changed(() => {}, made.bytes.length - 1)).toThrow(code('delta-blocks'))
  })

  test('of something else is refused', () => {
    expect(changed((index) => index.write('x', 0))).toThrow(code('delta-index'))
  })
})

const block = Buffer.concat([noise('block', 3_000), Buffer.alloc(13_384)])
const wanted = { length: block.length, sha256: sha256Of(block) }
const params = { [constants.ZSTD_c_contentSizeFlag]: 1 }
const compress = (bytes: Buffer) =>
  zstdCompressSync(bytes, { pledgedSrcSize: bytes.length, params })
const none = Buffer.alloc(0)

/** A frame of raw blocks, or of one byte many times, with any header. */
function handmade({
  windowLog = 20,
  says = block.length,
  body = [block],
}: {
  windowLog?: number
  says?: number
  body?: (Buffer | { byte: number; times: number })[]
} = {}): Buffer {
  const head = Buffer.alloc(10)
  head.writeUInt32LE(0xfd_2f_b5_28)
  // Content size in 4 bytes, no single segment, no checksum.
  head.writeUInt8(0x80, 4)
  head.writeUInt8((windowLog - 10) << 3, 5)
  head.writeUInt32LE(says, 6)
  const blocks = body.flatMap((part, number) => {
    const isLast = number === body.length - 1 ? 1 : 0
    const header = Buffer.alloc(3)
    if (Buffer.isBuffer(part)) {
      header.writeUIntLE((part.length << 3) | isLast, 0, 3)
      return [header, part]
    }
    header.writeUIntLE((part.times << 3) | 2 | isLast, 0, 3)
    return [header, Buffer.from([part.byte])]
  })
  return Buffer.concat([head, ...blocks])
}

describe('a frame', () => {
  test('that is right gives the block, with a dictionary and without', () => {
    expect(decodeDeltaBlock(compress(block), none, wanted).equals(block)).toBe(true)
    expect(decodeDeltaBlock(handmade(), none, wanted).equals(block)).toBe(true)
    const { delta, bytes } = made
    const first = delta.blocks[0]
    if (!first) throw new Error('No blocks')
    const frame = bytes.subarray(first.frameAt, first.frameAt + first.frameLength)
    expect(decodeDeltaBlock(frame, old.subarray(0, 65_536), first)).toHaveLength(16_384)
  })

  test('84 that says or makes more than the block is refused, without memory for it', () => {
    const bomb = compress(Buffer.alloc(50_000_000))
    expect(bomb.length).toBeLessThan(10_000)
    expect(() => decodeDeltaBlock(bomb, none, wanted)).toThrow(code('delta-frame'))
    // It says the right length and holds a hundred times as much.
    const liar = handmade({ body: Array.from({ length: 100 }, () => ({ byte: 7, times: 16_384 })) })
    expect(() => decodeDeltaBlock(liar, none, wanted)).toThrow(code('delta-frame'))
    expect(() => decodeDeltaBlock(handmade({ says: 16_385 }), none, wanted)).toThrow(
      code('delta-frame'),
    )
  })

  test('84 that makes less than the block is refused', () => {
    const short = handmade({ body: [block.subarray(1)] })
    expect(() => decodeDeltaBlock(short, none, wanted)).toThrow(code('delta-frame'))
  })
})

describe('a frame that is not what it should be', () => {
  test('85 has anything behind or before it, is refused', () => {
    const frame = compress(block)
    const skippable = Buffer.from('5e2a4d1804000000deadbeef', 'hex')
    const twice = Buffer.concat([frame, frame])
    const garbage = Buffer.concat([frame, Buffer.from('x')])
    const behind = Buffer.concat([frame, skippable])
    const before = Buffer.concat([skippable, frame])
    for (const bytes of [twice, garbage, behind, before, frame.subarray(0, -1), none]) {
      expect(() => decodeDeltaBlock(bytes, none, wanted)).toThrow(code('delta-frame'))
    }
  })

  test('86 holds other bytes than the index says, is refused', () => {
    const other = Buffer.from(block)
    other[0] = (other[0] ?? 0) ^ 1
    expect(() => decodeDeltaBlock(compress(other), none, wanted)).toThrow(code('delta-hash'))
  })

  test('86 is made for another window, is refused, also when zstd does not notice', () => {
    const first = made.delta.blocks[0]
    if (!first) throw new Error('No blocks')
    const frame = made.bytes.subarray(first.frameAt, first.frameAt + first.frameLength)
    const wrong = Buffer.from(old.subarray(0, 65_536))
    wrong[100] = (wrong[100] ?? 0) ^ 1
    expect(() => decodeDeltaBlock(frame, wrong, first)).toThrow(code('delta-hash'))
  })

  test('87 asks for a window of 2 GB, is refused; one of 128 MB is not', () => {
    for (const windowLog of [28, 31]) {
      expect(() => decodeDeltaBlock(handmade({ windowLog }), none, wanted)).toThrow(
        code('delta-frame'),
      )
    }
    expect(decodeDeltaBlock(handmade({ windowLog: 27 }), none, wanted).equals(block)).toBe(true)
  })
})

test('a frame is measured from outside, of whatever zstd makes', () => {
  for (const length of [0, 1, 255, 256, 65_791, 65_792, 300_000]) {
    for (const bytes of [noise('n', length), Buffer.alloc(length, 7)]) {
      for (const checksum of [0, 1]) {
        const frame = zstdCompressSync(bytes, {
          pledgedSrcSize: length,
          params: { ...params, [constants.ZSTD_c_checksumFlag]: checksum },
        })
        const outside = inspectFrame(Buffer.concat([frame, Buffer.from('more')]))
        expect(outside).toMatchObject({ frameBytes: frame.length, contentBytes: length })
        for (const cut of [1, 5, 9]) {
          expect(inspectFrame(frame.subarray(0, Math.max(0, frame.length - cut)))).toBeUndefined()
        }
      }
    }
  }
})
