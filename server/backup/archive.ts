import { createHash, type Hash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'

import { z } from 'zod'

import {
  chunkBytes,
  Opener,
  type OpeningKey,
  SealedFileError,
  Sealer,
  type SealingKey,
  tagBytes,
} from '../../pki/sealed/sealed-file.ts'
import { BackupError } from './backup-error.ts'

/** What a frame holds: the beginning of a part, some of it, its end, or the end of all. */
type FrameKind = 'part' | 'data' | 'end' | 'closed'
const kinds: readonly FrameKind[] = ['part', 'data', 'end', 'closed']
const frameHeadBytes = 5
export const maxFrameBytes = 64 * 1024 * 1024

const PartEnd = z.strictObject({
  bytes: z.number(),
  /** Frames. For a table, rows are counted by its writer. */
  rows: z.number(),
  sha256: z.string(),
})
export type PartEnd = z.infer<typeof PartEnd>

/** Writes parts one after the other into a sealed file; holds one chunk in memory. */
export class ArchiveWriter {
  readonly #file: FileHandle
  readonly #sealer: Sealer
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #hash: Hash = createHash('sha256')
  #bytes = 0
  #rows = 0

  private constructor(file: FileHandle, sealer: Sealer) {
    this.#file = file
    this.#sealer = sealer
  }

  static async begin(file: FileHandle, key: SealingKey): Promise<ArchiveWriter> {
    const sealer = new Sealer(key)
    await writeAll(file, sealer.head)
    return new ArchiveWriter(file, sealer)
  }

  async part(name: string): Promise<void> {
    this.#hash = createHash('sha256')
    this.#bytes = 0
    this.#rows = 0
    await this.#frame('part', Buffer.from(name))
  }

  async data(bytes: Buffer, rows = 0): Promise<void> {
    this.#hash.update(bytes)
    this.#bytes += bytes.length
    this.#rows += rows
    await this.#frame('data', bytes)
  }

  async endPart(): Promise<PartEnd> {
    const end = { bytes: this.#bytes, rows: this.#rows, sha256: this.#hash.digest('hex') }
    await this.#frame('end', Buffer.from(JSON.stringify(end)))
    return end
  }

  /** The whole is there: without this the file counts as cut off. */
  async close(): Promise<void> {
    await this.#frame('closed', Buffer.alloc(0))
    const rest = Buffer.concat(this.#waiting)
    await writeAll(this.#file, this.#sealer.seal(rest, true))
  }

  async #frame(kind: FrameKind, payload: Buffer): Promise<void> {
    const head = Buffer.alloc(frameHeadBytes)
    head[0] = kinds.indexOf(kind)
    head.writeUInt32BE(payload.length, 1)
    this.#waiting.push(head, payload)
    this.#waitingBytes += head.length + payload.length
    if (this.#waitingBytes <= chunkBytes) return
    const all = Buffer.concat(this.#waiting)
    let at = 0
    // What may be the last chunk is kept back: the last one is marked.
    for (; all.length - at > chunkBytes; at += chunkBytes) {
      await writeAll(this.#file, this.#sealer.seal(all.subarray(at, at + chunkBytes), false))
    }
    this.#waiting = [all.subarray(at)]
    this.#waitingBytes = all.length - at
  }
}

export type ArchiveEvent =
  | { kind: 'part'; name: string }
  | { kind: 'data'; bytes: Buffer }
  | { kind: 'end'; end: PartEnd }

/**
 * What a sealed file holds, in order. Every part's hash is checked at its end, and the file has to end where it says.
 *
 * @throws BackupError when the key does not open it, or anything in it was changed or is missing
 */
export async function* readArchive(path: string, key: OpeningKey): AsyncGenerator<ArchiveEvent> {
  let hash = createHash('sha256')
  let isClosed = false
  try {
    for await (const { kind, payload } of framesOf(path, key)) {
      if (isClosed) throw new BackupError(`${path} goes on after its end`)
      if (kind === 'closed') isClosed = true
      else if (kind === 'part') {
        hash = createHash('sha256')
        yield { kind, name: payload.toString() }
      } else if (kind === 'data') {
        hash.update(payload)
        yield { kind, bytes: payload }
      } else {
        const end = PartEnd.parse(JSON.parse(payload.toString()))
        if (hash.digest('hex') !== end.sha256) throw new BackupError(`A part of ${path} is damaged`)
        yield { kind, end }
      }
    }
  } catch (error) {
    if (error instanceof SealedFileError) {
      throw new BackupError(`${path}: ${error.message}`, { cause: error })
    }
    throw error
  }
  if (!isClosed) throw new BackupError(`${path} is cut off`)
}

async function* framesOf(path: string, key: OpeningKey) {
  let waiting: Buffer[] = []
  let waitingBytes = 0
  let wanted = frameHeadBytes
  for await (const text of textOf(path, key)) {
    waiting.push(text)
    waitingBytes += text.length
    if (waitingBytes < wanted) continue
    let all = Buffer.concat(waiting)
    for (;;) {
      if (all.length < frameHeadBytes) {
        wanted = frameHeadBytes
        break
      }
      const length = all.readUInt32BE(1)
      const kind = kinds[all[0] ?? kinds.length]
      if (kind === undefined || length > maxFrameBytes) throw new BackupError('A frame is damaged')
      wanted = frameHeadBytes + length
      if (all.length < wanted) break
      yield { kind, payload: all.subarray(frameHeadBytes, wanted) }
      all = all.subarray(wanted)
    }
    waiting = [all]
    waitingBytes = all.length
  }
  if (waitingBytes > 0) throw new BackupError(`${path} is cut off`)
}

async function* textOf(path: string, key: OpeningKey): AsyncGenerator<Buffer> {
  await using file = await open(path, 'r')
  const { size } = await file.stat()
  const head = await readAt(file, 0, Math.min(size, 4_096))
  const opener = new Opener(head, key)
  const sealedBytes = chunkBytes + tagBytes
  for (let at = opener.headBytes; ; at += sealedBytes) {
    const length = Math.min(sealedBytes, size - at)
    const isLast = at + length >= size
    yield opener.open(await readAt(file, at, Math.max(0, length)), isLast)
    if (isLast) return
  }
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done)
    if (bytesRead === 0) throw new BackupError('The file became shorter while it was read')
    done += bytesRead
  }
  return bytes
}

async function writeAll(file: FileHandle, bytes: Buffer): Promise<void> {
  for (let done = 0; done < bytes.length;) done += (await file.write(bytes, done)).bytesWritten
}
