import { createHash } from 'node:crypto'
import { constants, zstdCompressSync } from 'node:zlib'

import {
  decodeDeltaBlock,
  type DeltaBlock,
  encodeDeltaIndex,
  maxWindowLog,
} from '../protocol/delta-z1.ts'
import { OldPlaces } from './window.ts'

/** An image, read piece by piece. */
export interface ImageSource {
  length: number
  /** Lower hex. */
  sha256: string
  /** Exactly that many bytes. */
  read: (position: number, length: number) => Promise<Buffer>
}

export interface BlockSizes {
  blockBytes: number
  windowBytes: number
}

/** Called between blocks; throws when it has taken too much. */
export type Checkpoint = (soFar: { frameBytes: number }) => void

const kib = 1_024
const mib = 1_024 * kib
const level = 19
const minWindowLog = 10
/** zstd makes nothing of a shorter dictionary. */
const minWindowBytes = 64
const pieceBytes = mib

/** updates.md section 5.1: what a device must hold grows with the image, which says what kind of device it is. */
export function blockSizesFor(imageBytes: number): BlockSizes {
  if (imageBytes <= mib) return { blockBytes: 16 * kib, windowBytes: 64 * kib }
  if (imageBytes <= 16 * mib) return { blockBytes: 64 * kib, windowBytes: 256 * kib }
  return { blockBytes: 4 * mib, windowBytes: 16 * mib }
}

export interface EncodeDelta {
  base: ImageSource
  target: ImageSource
  sizes: BlockSizes
  /** Takes the frames in order; header and entries are known at the end only, and stand before them. */
  write: (frame: Buffer) => Promise<void>
  checkpoint: Checkpoint
}

/**
 * The frames of a `delta-z1` (updates.md section 5.1) one after the other to `write`, and in the end what stands before them. Each
 * frame has been decoded again before it is written. Holds a block, its window and its frame. The same images give the same bytes.
 *
 * @throws Error when an image does not have the hash it is said to have; what `checkpoint` throws
 */
export async function encodeDelta(
  input: EncodeDelta,
): Promise<{ index: Buffer; frameBytes: number }> {
  const { base, target, sizes, write, checkpoint } = input
  const places = await placesIn(base)
  const whole = createHash('sha256')
  const blocks: DeltaBlock[] = []
  let frameBytes = 0
  for (let start = 0; start < target.length; start += sizes.blockBytes) {
    const block = await target.read(start, Math.min(sizes.blockBytes, target.length - start))
    whole.update(block)
    const made = await bestFrame({ block, start, places }, input)
    blocks.push(made.entry)
    await write(made.frame)
    frameBytes += made.frame.length
    checkpoint({ frameBytes })
  }
  if (whole.digest('hex') !== target.sha256) throw new Error('The new image has another hash')
  const header = {
    blockBytes: sizes.blockBytes,
    oldLength: base.length,
    newLength: target.length,
    oldSha256: base.sha256,
    newSha256: target.sha256,
  }
  return { index: encodeDeltaIndex(header, blocks), frameBytes }
}

interface Window {
  offset: number
  bytes: Buffer
}

const noWindow: Window = { offset: 0, bytes: Buffer.alloc(0) }
/** A window that begins so would be taken for one of zstd's own dictionaries, and not by all decoders alike. */
const dictionaryMagic = Buffer.from('37a430ec', 'hex')

/**
 * With the window where the same part of the old image should be, when what is new is spread evenly; or with the one that holds
 * more of the block, or the shorter of the two when that is not clear.
 */
async function bestFrame(
  { block, start, places }: { block: Buffer; start: number; places: OldPlaces },
  { base, target, sizes }: Pick<EncodeDelta, 'base' | 'target' | 'sizes'>,
): Promise<Framed> {
  const window = Math.min(sizes.windowBytes, base.length)
  if (window < minWindowBytes) return frameOf(block, noWindow)
  const middle = Math.round(((start + block.length / 2) * base.length) / target.length)
  const expected = Math.min(Math.max(middle - Math.floor(window / 2), 0), base.length - window)
  const best = places.bestFor(block, { window, expected })
  const at = async (offset: number) => frameOf(block, await windowAt(base, offset, window))
  if (!best) return await at(expected)
  const matched = await at(best.offset)
  if (best.isClear) return matched
  const even = await at(expected)
  return even.frame.length <= matched.frame.length ? even : matched
}

async function windowAt(base: ImageSource, offset: number, length: number): Promise<Window> {
  const bytes = await base.read(offset, length)
  return bytes.subarray(0, 4).equals(dictionaryMagic) ? noWindow : { offset, bytes }
}

interface Framed {
  frame: Buffer
  entry: DeltaBlock
}

/** @throws DeltaError when what was made cannot be decoded, which is a fault of zstd or of ours */
function frameOf(block: Buffer, { offset, bytes: window }: Window): Framed {
  const windowLog = Math.ceil(Math.log2(block.length + window.length))
  const frame = zstdCompressSync(block, {
    pledgedSrcSize: block.length,
    ...(window.length > 0 && { dictionary: window }),
    params: {
      [constants.ZSTD_c_compressionLevel]: level,
      [constants.ZSTD_c_windowLog]: Math.min(Math.max(windowLog, minWindowLog), maxWindowLog),
      [constants.ZSTD_c_contentSizeFlag]: 1,
      [constants.ZSTD_c_checksumFlag]: 0,
    },
  })
  const sha256 = createHash('sha256').update(block).digest('hex')
  decodeDeltaBlock(frame, window, { length: block.length, sha256 })
  return {
    frame,
    entry: {
      windowOffset: offset,
      windowLength: window.length,
      frameLength: frame.length,
      sha256,
    },
  }
}

/** Reads the old image once. Throws when it has another hash. */
async function placesIn({ length, sha256, read }: ImageSource): Promise<OldPlaces> {
  const hash = createHash('sha256')
  const places = new OldPlaces(length)
  for (let at = 0; at < length; at += pieceBytes) {
    const piece = await read(at, Math.min(pieceBytes, length - at))
    hash.update(piece)
    places.add(piece, at)
  }
  if (hash.digest('hex') !== sha256) throw new Error('The old image has another hash')
  return places
}
