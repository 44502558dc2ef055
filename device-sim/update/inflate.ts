import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { constants, createZstdDecompress } from 'node:zlib'

import { maxWindowLog } from '../../server/protocol/delta-z1.ts'
import { type Disk, removeFile } from '../disk.ts'
import { messageOf } from '../errors.ts'
import { hashFile } from './slots.ts'
import { Interruption, UnusableForm, type Wanted } from './transfer.ts'

export interface Inflating {
  disk: Disk
  wanted: Wanted
  /** The whole frame, as it was fetched. */
  file: string
  onProgress: (percent: number) => void
  signal: AbortSignal
}

/**
 * The image into the part file, from one zstd frame: never more bytes than the image has, and its hash from what the disk gives
 * back. Begins anew when it was interrupted.
 *
 * @throws UnusableForm when the frame does not make the image; Interruption when it is stopped
 */
export async function inflate({
  disk,
  wanted,
  file,
  onProgress,
  signal,
}: Inflating): Promise<void> {
  const { part, sha256, length } = wanted
  await removeFile(disk, part)
  let at = 0
  const keep = async (pieces: AsyncIterable<Buffer>) => {
    for await (const piece of pieces) {
      if (at + piece.length > length) throw new UnusableForm('endless-data', 'It expands too far')
      await disk.writeAt(part, piece, at)
      at += piece.length
      onProgress(Math.floor((at * 100) / length))
    }
  }
  try {
    const params = { [constants.ZSTD_d_windowLogMax]: maxWindowLog }
    await pipeline(Readable.from(piecesOf(disk, file)), createZstdDecompress({ params }), keep, {
      signal,
    })
  } catch (error) {
    if (signal.aborted) throw new Interruption('The decompression was stopped')
    if (isZstdError(error)) throw new UnusableForm('zstd', messageOf(error))
    throw error
  }
  if (at === length) {
    await disk.fsync(part)
    await disk.fsyncDir()
    const found = await hashFile(disk, part)
    if (found.sha256 === sha256 && found.length === length) return
  }
  await removeFile(disk, part)
  throw new UnusableForm('hash', 'It makes another image')
}

/** The disk reads into the same memory again and again; a stream keeps what it was given for a while. */
async function* piecesOf(disk: Disk, file: string): AsyncIterable<Buffer> {
  for await (const piece of disk.chunks(file)) yield Buffer.from(piece)
}

function isZstdError(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return /^(ZSTD_|Z_|ERR_BUFFER_TOO_LARGE|ERR_ZLIB)/.test(code)
}
