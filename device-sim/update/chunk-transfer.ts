import type { Hash } from 'node:crypto'

import { askFor, type ChunkRequest, nameDigits, parseChunk } from '../../server/protocol/chunks.ts'
import type { Disk } from '../disk.ts'
import {
  type DownloadRules,
  Failure,
  Interruption,
  pacer,
  rateGuard,
  type Wanted,
} from './transfer.ts'

export interface ChunkListener {
  onFrame: (frame: Buffer) => void
  onLost: () => void
}

/** The device's connection to the broker, as far as chunks go. */
export interface ChunkLink {
  readonly isConnected: boolean
  /** At QoS 0: it may be lost. */
  ask: (request: ChunkRequest) => void
  /** One at a time hears what comes, until it calls what this returns. */
  listen: (listener: ChunkListener) => () => void
}

export interface ChunkReception {
  link: ChunkLink
  disk: Disk
  wanted: Wanted
  rules: DownloadRules
  /** Of what the part file holds already; of all that it holds afterwards. */
  hash: Hash
  /** Bytes that it holds already, whichever way they came. */
  from: number
  onProgress: (percent: number) => void
  signal: AbortSignal
}

/** Small, so that a command waits for one of them at most (broker.md 3.7); together as much as one request may ask for. */
const blockBytes = 16_384
const windowBlocks = 8
const maxRepairMs = 300_000
const maxRetryMs = 60_000
const reconnectMs = 500
/** Repairs in vain after which another way is tried, when there is one. */
const maxSilentRepairs = 2

/**
 * The rest of an artifact in chunks over MQTT (updates.md section 6), in its order into the part file. A window of blocks is asked
 * for; those that do not come are asked for again by bitmap. Holds one window in memory. What came is kept when it ends early.
 *
 * @throws Interruption, Failure
 */
export async function receiveChunks(reception: ChunkReception): Promise<void> {
  const { link, disk, wanted, rules, hash, from, onProgress, signal } = reception
  if (!link.isConnected) throw lost()
  const window = new ChunkWindow(wanted)
  const slow = rateGuard(rules, () => {
    window.fail(new Failure('slow', 'The download fell below the least rate', true))
  })
  const stopListening = link.listen({
    onFrame: (frame) => slow.count(window.take(frame)),
    onLost: () => window.fail(lost()),
  })
  const onAbort = () => window.fail(new Interruption('The download was stopped'))
  signal.addEventListener('abort', onAbort, { once: true })
  const pace = pacer(rules.bytesPerSecond, signal)
  let at = from
  const store = async () => {
    const bytes = window.contiguousFrom(at)
    if (bytes.length === 0) return
    await disk.writeAt(wanted.part, bytes, at)
    hash.update(bytes)
    at += bytes.length
    onProgress(Math.floor((at / wanted.length) * 100))
    await pace(bytes.length)
  }
  try {
    const repair = { waitMs: rules.chunkRepairMs }
    while (at < wanted.length && !signal.aborted) {
      window.open(Math.floor(at / blockBytes))
      try {
        await fill(window, reception, repair)
      } finally {
        await store()
      }
    }
    if (signal.aborted) throw new Interruption('The download was stopped')
  } finally {
    stopListening()
    slow.stop()
    signal.removeEventListener('abort', onAbort)
  }
}

function lost(): Interruption {
  return new Interruption('Not connected', { waitMs: reconnectMs, isUnreachable: true })
}

/** Asks until the window is full. Waits longer each time that nothing came, and a little less after each that went well. */
async function fill(
  window: ChunkWindow,
  { link, wanted, rules }: ChunkReception,
  repair: { waitMs: number },
): Promise<void> {
  let inVain = 0
  for (let missing = window.missing(); missing.length > 0;) {
    link.ask({ f: wanted.sha256.slice(0, nameDigits), l: blockBytes, ...askFor(missing) })
    await window.settled(repair.waitMs)
    const left = window.missing()
    if (left.length === 0) break
    repair.waitMs = Math.min(repair.waitMs * 2, maxRepairMs)
    inVain = left.length < missing.length ? 0 : inVain + 1
    if (rules.delivery === 'auto' && inVain >= maxSilentRepairs) {
      throw new Interruption('No chunks come', { isUnreachable: true })
    }
    missing = left
  }
  repair.waitMs = Math.max(repair.waitMs / 2, rules.chunkRepairMs)
}

/** Consecutive blocks of one file, filled by frames in any order; a frame that is not one of those is passed over. */
class ChunkWindow {
  readonly #wanted: Wanted
  #first = 0
  /** By block number; undefined while it is missing. */
  #blocks = new Map<number, Buffer | undefined>()
  #problem: Error | undefined
  #changed: () => void = () => {}

  constructor(wanted: Wanted) {
    this.#wanted = wanted
  }

  open(first: number): void {
    const count = Math.min(Math.ceil(this.#wanted.length / blockBytes) - first, windowBlocks)
    this.#first = first
    this.#blocks = new Map(Array.from({ length: count }, (_, i) => [first + i, undefined]))
  }

  /** Rising. */
  missing(): number[] {
    return [...this.#blocks].flatMap(([block, bytes]) => (bytes ? [] : [block]))
  }

  fail(problem: Error): void {
    this.#problem ??= problem
    this.#changed()
  }

  /** How many new bytes the frame brought. */
  take(frame: Buffer): number {
    const chunk = parseChunk(frame, this.#wanted.sha256)
    // Late, twice, or not of this window: it was not asked for, or not any more.
    if (!chunk || !this.#blocks.has(chunk.block)) return 0
    switch (chunk.kind) {
      case 'refused':
        this.fail(new Failure(chunk.code, `The server refused the download: ${chunk.code}`, false))
        return 0
      case 'retry': {
        const waitMs = Math.min(Math.max(chunk.seconds * 1000, reconnectMs), maxRetryMs)
        this.fail(new Interruption('The server is busy', { waitMs }))
        return 0
      }
      case 'data':
        return this.#keep(chunk.block, chunk.payload)
      default:
        return chunk satisfies never
    }
  }

  #keep(block: number, payload: Buffer): number {
    if (this.#blocks.get(block)) return 0
    const length = Math.min(blockBytes, this.#wanted.length - block * blockBytes)
    if (payload.length > length) {
      this.fail(new Failure('endless-data', 'The server sent more bytes than the target has', true))
      return 0
    }
    // Cut short: asked for again.
    if (payload.length < length) return 0
    this.#blocks.set(block, payload)
    this.#changed()
    return length
  }

  /** Resolves when all are there, or none came for so long. Throws what went wrong. */
  async settled(idleMs: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    let timer = setTimeout(resolve, idleMs)
    this.#changed = () => {
      clearTimeout(timer)
      if (this.#problem) return reject(this.#problem)
      if (this.missing().length === 0) return resolve()
      timer = setTimeout(resolve, idleMs)
    }
    try {
      if (this.#problem) throw this.#problem
      await promise
    } finally {
      clearTimeout(timer)
      this.#changed = () => {}
    }
  }

  /** What there is without a hole from that byte of the file on. */
  contiguousFrom(at: number): Buffer {
    const parts: Buffer[] = []
    for (const bytes of this.#blocks.values()) {
      if (!bytes) break
      parts.push(bytes)
    }
    return Buffer.concat(parts).subarray(Math.max(at - this.#first * blockBytes, 0))
  }
}
