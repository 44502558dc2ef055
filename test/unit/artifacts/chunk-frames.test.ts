import { createHash } from 'node:crypto'

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import {
  askFor,
  blocksOf,
  frameHeaderBytes,
  maxBlockBytes,
  parseChunk,
  parseChunkRequest,
  refusedFrame,
  retryFrame,
  writeDataHeader,
} from '../../../server/protocol/chunks.ts'

const file = createHash('sha256').update('a').digest('hex')
const other = createHash('sha256').update('b').digest('hex')
const asked = { f: file.slice(0, 32), l: 65_536, o: 12, n: 2 }
const read = (request: unknown) => parseChunkRequest(Buffer.from(JSON.stringify(request)))

function dataFrame(payload: Buffer, { block = 7, isLast = false } = {}): Buffer {
  const frame = Buffer.concat([Buffer.alloc(frameHeaderBytes), payload])
  writeDataHeader(frame, { file, block, isLast })
  return frame
}

describe('a request', () => {
  test('as in updates.md section 6 is read', () => {
    expect(read(asked)).toEqual(asked)
    expect(read({ ...asked, n: undefined, b: 'c0' })).toMatchObject({ b: 'c0' })
  })

  test.each([
    ['more than 128 kB', { ...asked, n: 3 }],
    ['more than 128 kB by bitmap', { ...asked, n: undefined, b: 'e0' }],
    ['no block', { ...asked, n: 0 }],
    ['no block by bitmap', { ...asked, n: undefined, b: '00' }],
    ['neither', { ...asked, n: undefined }],
    ['both', { ...asked, b: '80' }],
    ['more than 256 blocks', { ...asked, l: 1_024, n: undefined, b: `${'00'.repeat(32)}80` }],
    ['half a byte', { ...asked, n: undefined, b: '8' }],
    ['a block size that is no power of two', { ...asked, l: 3_000, n: 1 }],
    ['a block size too small', { ...asked, l: 512, n: 1 }],
    ['a block size too large', { ...asked, l: 262_144, n: 1 }],
    ['a negative block', { ...asked, o: -1 }],
    ['a block beyond 32 bits', { ...asked, o: 2 ** 32 }],
    ['half a block', { ...asked, o: 0.5 }],
    ['a whole hash', { ...asked, f: file }],
    ['another field', { ...asked, x: 1 }],
    ['no object', [asked]],
  ])('for %s is refused', (_what, request) => {
    expect(read(request)).toBeUndefined()
  })

  test('of more than 512 bytes is not looked at', () => {
    const text = JSON.stringify(asked)
    expect(parseChunkRequest(Buffer.from(text.padEnd(512)))).toEqual(asked)
    expect(parseChunkRequest(Buffer.from(text.padEnd(513)))).toBeUndefined()
  })

  test('asks for just the blocks that are wanted', () => {
    const rising = fc.uniqueArray(fc.integer({ min: 0, max: 255 }), {
      minLength: 1,
      maxLength: 128,
    })
    fc.assert(
      fc.property(rising, fc.integer({ min: 0, max: 1e6 }), (offsets, start) => {
        const blocks = offsets.toSorted((a, b) => a - b).map((offset) => start + offset)
        const request = { f: asked.f, l: 1_024, ...askFor(blocks) }
        expect(blocksOf(request)).toEqual(blocks)
        expect(read(request)).toEqual(request)
      }),
      { numRuns: 50 },
    )
  })
})

describe('a frame', () => {
  test('has ten bytes before the block', () => {
    const frame = dataFrame(Buffer.from('abc'), { block: 258, isLast: true })
    expect(frame.toString('hex')).toBe(`0101${file.slice(0, 8)}00000102616263`)
    expect(parseChunk(frame, file)).toEqual({
      kind: 'data',
      block: 258,
      isLast: true,
      payload: Buffer.from('abc'),
    })
  })

  test('can refuse, or ask to come back', () => {
    expect(parseChunk(refusedFrame(file, 3, 'bad-range'), file)).toEqual({
      kind: 'refused',
      block: 3,
      code: 'bad-range',
    })
    expect(parseChunk(retryFrame(file, 3, 300), file)).toEqual({
      kind: 'retry',
      block: 3,
      seconds: 300,
    })
  })

  test('74: of another file is none of this one', () => {
    expect(parseChunk(dataFrame(Buffer.from('abc')), file)).toBeDefined()
    expect(parseChunk(dataFrame(Buffer.from('abc')), other)).toBeUndefined()
  })

  test('69: is as long as a block may be, and no longer', () => {
    expect(parseChunk(dataFrame(Buffer.alloc(maxBlockBytes)), file)).toBeDefined()
    expect(parseChunk(dataFrame(Buffer.alloc(maxBlockBytes + 1)), file)).toBeUndefined()
  })

  test('of another version, with unknown flags, an unknown code or cut short is none', () => {
    const wrong = (change: (frame: Buffer) => void, frame = dataFrame(Buffer.from('abc'))) => {
      change(frame)
      return parseChunk(frame, file)
    }
    expect(wrong(() => {})).toBeDefined()
    expect(wrong((frame) => (frame[0] = 2))).toBeUndefined()
    for (const flags of [3, 5, 6, 8, 128]) {
      expect(wrong((frame) => (frame[1] = flags))).toBeUndefined()
    }
    expect(wrong((frame) => (frame[11] = 0), refusedFrame(file, 3, 'not-found'))).toBeUndefined()
    expect(parseChunk(retryFrame(file, 3, 1).subarray(0, 11), file)).toBeUndefined()
    expect(parseChunk(dataFrame(Buffer.alloc(0)).subarray(0, 9), file)).toBeUndefined()
  })

  test('of any bytes does no harm', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        parseChunk(Buffer.from(bytes), file)
        parseChunkRequest(Buffer.from(bytes))
      }),
    )
  })
})
