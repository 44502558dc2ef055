import { createHash } from 'node:crypto'
import { constants, zstdDecompressSync } from 'node:zlib'

import { inspectFrame } from './zstd-frame.ts'

/**
 * The delta format `delta-z1` (updates.md section 5.1): a header, an entry per block, then a zstd frame per block, back to back.
 * Each frame stands alone: its dictionary is a window of the old image.
 */
export const deltaMagic = Buffer.from('4653445a31000000', 'hex')
export const deltaHeaderBytes = 96
export const deltaEntryBytes = 48
/** Of one block and of one window: what a device must be able to hold, with the frame, at once. */
export const maxDeltaBlockBytes = 16 * 1024 * 1024
export const maxDeltaWindowBytes = 64 * 1024 * 1024
export const minDeltaBlockBytes = 1_024
/** Header and entries: read as a whole before any frame is touched. */
export const maxDeltaIndexBytes = 4 * 1024 * 1024
/** Of any frame that a device takes: what its decoder may be asked to keep. */
export const maxWindowLog = 27

export interface DeltaHeader {
  blockBytes: number
  oldLength: number
  newLength: number
  /** Lower hex. */
  oldSha256: string
  newSha256: string
}

export interface DeltaBlock {
  /** Of the old image, the dictionary; length 0 means none. */
  windowOffset: number
  windowLength: number
  frameLength: number
  /** Lower hex, of the new block. */
  sha256: string
}

/** A block with where it stands. */
export interface PlacedBlock extends DeltaBlock {
  /** First byte in the new image, and how many there are. */
  start: number
  length: number
  /** First byte of its frame in the delta. */
  frameAt: number
}

export interface Delta extends DeltaHeader {
  blocks: PlacedBlock[]
}

/** What is wrong with a delta, as a device reports it; never a verdict about the image. */
export type DeltaFault =
  | 'delta-base'
  | 'delta-index'
  | 'delta-window'
  | 'delta-blocks'
  | 'delta-frame'
  | 'delta-hash'

export class DeltaError extends Error {
  override readonly name = 'DeltaError'
  readonly code: DeltaFault

  constructor(code: DeltaFault, message: string) {
    super(message)
    this.code = code
  }
}

/** Header and entries as bytes. */
export function encodeDeltaIndex(header: DeltaHeader, blocks: readonly DeltaBlock[]): Buffer {
  const bytes = Buffer.alloc(deltaHeaderBytes + blocks.length * deltaEntryBytes)
  deltaMagic.copy(bytes)
  bytes.writeUInt32BE(header.blockBytes, 8)
  bytes.writeUInt32BE(blocks.length, 12)
  bytes.writeBigUInt64BE(BigInt(header.oldLength), 16)
  bytes.writeBigUInt64BE(BigInt(header.newLength), 24)
  bytes.write(header.oldSha256, 32, 32, 'hex')
  bytes.write(header.newSha256, 64, 32, 'hex')
  blocks.forEach((block, index) => {
    const at = deltaHeaderBytes + index * deltaEntryBytes
    bytes.writeBigUInt64BE(BigInt(block.windowOffset), at)
    bytes.writeUInt32BE(block.windowLength, at + 8)
    bytes.writeUInt32BE(block.frameLength, at + 12)
    bytes.write(block.sha256, at + 16, 32, 'hex')
  })
  return bytes
}

export interface DeltaPromise {
  /** Of the whole delta, in bytes. */
  length: number
  index: { length: number; sha256: string }
  /** The image that must be there, and the one that comes of it. */
  base: { sha256: string; length: number }
  target: { sha256: string; length: number }
}

/**
 * Reads header and entries, and holds them against what was promised. Nothing of the frames is looked at.
 *
 * @throws DeltaError `delta-index` (hash, length, form), `delta-base`, `delta-blocks` (counts and lengths), `delta-window`
 */
export function parseDeltaIndex(bytes: Buffer, promised: DeltaPromise): Delta {
  const { index } = promised
  const isPromised =
    bytes.length === index.length &&
    createHash('sha256').update(bytes).digest('hex') === index.sha256
  if (!isPromised) throw new DeltaError('delta-index', 'The index is not the one that was promised')
  if (bytes.length < deltaHeaderBytes || bytes.length > maxDeltaIndexBytes) {
    throw new DeltaError('delta-index', 'The index has no possible length')
  }
  if (!bytes.subarray(0, 8).equals(deltaMagic)) {
    throw new DeltaError('delta-index', 'This is no delta-z1')
  }
  const header = readHeader(bytes)
  checkHeader(header, bytes.readUInt32BE(12), promised)
  const blocks = placed(bytes, header)
  const end = (blocks.at(-1)?.frameAt ?? 0) + (blocks.at(-1)?.frameLength ?? 0)
  if (end !== promised.length) {
    throw new DeltaError('delta-blocks', 'The frames do not make up the file')
  }
  return { ...header, blocks }
}

function readHeader(bytes: Buffer): DeltaHeader {
  return {
    blockBytes: bytes.readUInt32BE(8),
    oldLength: Number(bytes.readBigUInt64BE(16)),
    newLength: Number(bytes.readBigUInt64BE(24)),
    oldSha256: bytes.toString('hex', 32, 64),
    newSha256: bytes.toString('hex', 64, 96),
  }
}

function checkHeader(header: DeltaHeader, count: number, promised: DeltaPromise): void {
  const { blockBytes, oldLength, newLength, oldSha256, newSha256 } = header
  const { base, target, index } = promised
  if (oldSha256 !== base.sha256 || oldLength !== base.length) {
    throw new DeltaError('delta-base', 'The delta is made for another image')
  }
  if (newSha256 !== target.sha256 || newLength !== target.length) {
    throw new DeltaError('delta-blocks', 'The delta makes another image')
  }
  if (blockBytes < minDeltaBlockBytes || blockBytes > maxDeltaBlockBytes) {
    throw new DeltaError('delta-blocks', 'The blocks have no possible size')
  }
  const isComplete =
    count === Math.ceil(newLength / blockBytes) &&
    index.length === deltaHeaderBytes + count * deltaEntryBytes
  if (!isComplete) throw new DeltaError('delta-blocks', 'The blocks do not make up the image')
}

function placed(bytes: Buffer, { blockBytes, oldLength, newLength }: DeltaHeader): PlacedBlock[] {
  const blocks: PlacedBlock[] = []
  let frameAt = bytes.length
  for (let start = 0; start < newLength; start += blockBytes) {
    const at = deltaHeaderBytes + blocks.length * deltaEntryBytes
    const windowOffset = Number(bytes.readBigUInt64BE(at))
    const windowLength = bytes.readUInt32BE(at + 8)
    const frameLength = bytes.readUInt32BE(at + 12)
    const length = Math.min(blockBytes, newLength - start)
    if (windowLength > maxDeltaWindowBytes || windowOffset + windowLength > oldLength) {
      throw new DeltaError(
        'delta-window',
        `The window of block ${blocks.length} is not in the image`,
      )
    }
    // zstd never makes more of incompressible bytes (ZSTD_COMPRESSBOUND).
    if (frameLength === 0 || frameLength > length + (length >> 8) + 1_024) {
      throw new DeltaError(
        'delta-blocks',
        `The frame of block ${blocks.length} has no possible length`,
      )
    }
    const sha256 = bytes.toString('hex', at + 16, at + 48)
    blocks.push({ windowOffset, windowLength, frameLength, sha256, start, length, frameAt })
    frameAt += frameLength
  }
  return blocks
}

/**
 * One block of the new image from its frame and its window of the old one. The frame must be exactly one zstd frame that says
 * how long its content is, or it is not decompressed at all (updates.md section 5.2).
 *
 * @throws DeltaError `delta-frame`; `delta-hash` when something else comes of it
 */
export function decodeDeltaBlock(
  frame: Buffer,
  window: Buffer,
  { length, sha256 }: Pick<PlacedBlock, 'length' | 'sha256'>,
): Buffer {
  const outside = inspectFrame(frame)
  if (outside?.frameBytes !== frame.length) {
    throw new DeltaError('delta-frame', 'This is not exactly one zstd frame')
  }
  if (outside.contentBytes !== length || outside.windowBytes > 2 ** maxWindowLog) {
    throw new DeltaError('delta-frame', 'The frame asks for more than the block has')
  }
  let block: Buffer
  try {
    block = zstdDecompressSync(frame, {
      maxOutputLength: length,
      params: { [constants.ZSTD_d_windowLogMax]: maxWindowLog },
      ...(window.length > 0 && { dictionary: window }),
    })
  } catch {
    throw new DeltaError('delta-frame', 'The frame does not decompress')
  }
  if (createHash('sha256').update(block).digest('hex') !== sha256) {
    throw new DeltaError('delta-hash', 'The block has another hash')
  }
  return block
}
