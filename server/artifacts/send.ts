import type { Response } from 'express'

import type { Block, BlockPool } from './block-pool.ts'
import type { HeldBytes, OpenArtifact } from './storage.ts'

export interface SendLimits {
  /** Of one read, to a reader that takes them quickly and while there is room. */
  maxBlockBytes: number
  /** Of the first read, and of every one while there is little room. */
  firstBlockBytes: number
  /** A slow reader is sent less at a time, so that it holds less of the budget. */
  minBlockBytes: number
  /** How long a request waits for its share of the budget. */
  waitMs: number
  /** How long a socket may take for one block before it is closed. */
  blockMs: number
}

/** A stretch of an artifact, and what is said before it: the head of a part among several. */
export interface Stretch {
  start: number
  length: number
  lead?: Buffer
}

/** What one answer is made of; `tail` comes after the last stretch. */
export interface Bytes {
  artifact: OpenArtifact
  stretches: readonly Stretch[]
  tail?: Buffer | undefined
}

interface Sending {
  pool: BlockPool
  limits: SendLimits
  signal: AbortSignal
  /** Told of each piece whether it had to be read, or was in memory. */
  read: (from: 'memory' | 'storage') => void
}

/** A block that took longer halves the next one; a quicker one than `quickMs` doubles it. */
const slowMs = 500
const quickMs = 50

/**
 * Writes the stretches to the response, one block at a time: the next is read when the socket has taken the last
 * (updates.md section 6). `first` was claimed before the headers.
 * Gives how many bytes of the artifact the socket took; ends early when it closes or takes too long, and then destroys it.
 */
export async function sendBytes(
  res: Response,
  { artifact, stretches, tail, first }: Bytes & { first: Block },
  { pool, limits, signal, read }: Sending,
): Promise<number> {
  const patience = { timeoutMs: limits.waitMs, signal }
  let block: Block | undefined = first
  let held: HeldBytes | undefined
  let size = Math.min(limits.firstBlockBytes, limits.maxBlockBytes)
  let claimed = Math.min(size, stretches[0]?.length ?? 0)
  let sent = 0
  let isWhole = false
  try {
    for (const { lead, start, length } of stretches) {
      if (lead && !(await taken(res, lead, { limits, signal }))) return sent
      for (let done = 0; done < length;) {
        if (signal.aborted) return sent
        if (!block) {
          const most = pool.isRoomy ? size : Math.min(size, limits.firstBlockBytes)
          claimed = Math.min(most, length - done)
          block = await pool.claim(claimed, patience)
        }
        const startedAt = performance.now()
        // Somebody slow would hold a large piece of memory for a small one.
        const isQuick = size >= Math.min(limits.firstBlockBytes, limits.maxBlockBytes)
        held = isQuick ? await artifact.hold?.(start + done) : undefined
        const bytes = held
          ? held.bytes.subarray(0, Math.min(claimed, length - done))
          : await readInto(block.buffer, artifact, {
              position: start + done,
              length: length - done,
            })
        read(held?.isHit ? 'memory' : 'storage')
        const got = bytes.length
        if (got === 0 || !(await taken(res, bytes, { limits, signal }))) return sent
        done += got
        sent += got
        held?.release('reuse')
        block.release('reuse')
        block = undefined
        size = nextSize(size, performance.now() - startedAt, limits)
      }
    }
    isWhole = tail === undefined || (await taken(res, tail, { limits, signal }))
  } finally {
    if (isWhole) res.end()
    // The headers promised more: only a broken connection says that it did not come.
    else res.destroy()
    held?.release()
    block?.release()
  }
  return sent
}

async function readInto(
  buffer: Buffer,
  artifact: OpenArtifact,
  { position, length }: { position: number; length: number },
): Promise<Buffer> {
  return buffer.subarray(0, await artifact.read(buffer, position, length))
}

function nextSize(block: number, tookMs: number, limits: SendLimits): number {
  if (tookMs > slowMs) return Math.max(limits.minBlockBytes, Math.floor(block / 2))
  if (tookMs < quickMs) return Math.min(limits.maxBlockBytes, block * 2)
  return block
}

/** Whether the socket took the block in time. Its buffer is free again then; otherwise the socket is to be destroyed. */
async function taken(
  res: Response,
  block: Buffer,
  { limits, signal }: { limits: SendLimits; signal: AbortSignal },
): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const stop = () => resolve(false)
  const timer = setTimeout(stop, limits.blockMs)
  signal.addEventListener('abort', stop, { once: true })
  res.write(block, (error) => resolve(!error))
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  }
}
