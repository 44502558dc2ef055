import { setTimeout as sleep } from 'node:timers/promises'

import type { Context } from '../context.ts'
import { createDownloadRights } from '../director/download-rights.ts'
import { DomainError } from '../errors.ts'
import type { DirectHandler } from '../mqtt/message.ts'
import { TokenBucket } from '../mqtt/token-bucket.ts'
import {
  blocksOf,
  type ChunkRefusal,
  type ChunkRequest,
  frameHeaderBytes,
  parseChunkRequest,
  refusedFrame,
  retryFrame,
  writeDataHeader,
} from '../protocol/chunks.ts'
import type { BlockPool } from './block-pool.ts'
import type { OpenArtifact } from './storage.ts'

export interface ChunkLimits {
  /** Requests of one device that are answered: in the long run, and at once. Below what the broker lets through. */
  requestsPerSecond: number
  requestBurst: number
  /** How long a block waits for its share of the budget before the device is told to come back. */
  waitMs: number
  /** Seconds after which it may. */
  retrySeconds: number
}

const defaults: ChunkLimits = {
  requestsPerSecond: 12,
  requestBurst: 24,
  waitMs: 5_000,
  retrySeconds: 5,
}

type Deps = Pick<Context, 'db' | 'storage' | 'metrics' | 'log' | 'transport'>

/** Of one device: the request that is being answered, and the one that takes its place. */
interface Lane {
  next: ChunkRequest | undefined
  current: AbortController
}

/** Devices whose rate is remembered; the longest unseen one goes first. */
const maxBuckets = 10_000

/**
 * Answers `get` by `chunk` (updates.md section 6, server/protocol/chunks.ts): blocks of what the device's current director
 * targets name, each read when its socket has taken the last one. Nothing is kept between requests but their rate, and of
 * each device one request is answered at a time: a new one takes the place of the old.
 *
 * @param pool bounds the bytes in flight, with those of HTTPS downloads
 */
export class ChunkDelivery implements DirectHandler, AsyncDisposable {
  readonly leaf = 'get'
  readonly #ctx: Deps
  readonly #pool: BlockPool
  readonly #limits: ChunkLimits
  readonly #rights: ReturnType<typeof createDownloadRights>
  readonly #lanes = new Map<string, Lane>()
  readonly #running = new Set<Promise<void>>()
  readonly #buckets = new Map<string, TokenBucket>()
  #isStopping = false

  constructor(ctx: Deps, pool: BlockPool, limits: Partial<ChunkLimits> = {}) {
    this.#ctx = ctx
    this.#pool = pool
    this.#limits = { ...defaults, ...limits }
    this.#rights = createDownloadRights(ctx)
  }

  take(deviceId: string, payload: Buffer): boolean {
    const request = parseChunkRequest(payload)
    if (!request) return false
    if (this.#isStopping) return true
    const lane = this.#lanes.get(deviceId)
    if (lane) {
      lane.next = request
      lane.current.abort()
      return true
    }
    const running = this.#run(deviceId, { next: request, current: new AbortController() })
    this.#running.add(running)
    void running.finally(() => this.#running.delete(running))
    return true
  }

  /** Ends what is being answered and takes nothing more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopping = true
    for (const lane of this.#lanes.values()) {
      lane.next = undefined
      lane.current.abort()
    }
    await Promise.all(this.#running)
  }

  async #run(deviceId: string, lane: Lane): Promise<void> {
    this.#lanes.set(deviceId, lane)
    try {
      while (lane.next) {
        const request = lane.next
        lane.next = undefined
        lane.current = new AbortController()
        const { signal } = lane.current
        await this.#answer(deviceId, request, signal).catch((error: unknown) => {
          if (!signal.aborted) this.#ctx.log.error({ err: error, deviceId }, 'no chunks were sent')
        })
      }
    } finally {
      this.#lanes.delete(deviceId)
    }
  }

  async #answer(deviceId: string, request: ChunkRequest, signal: AbortSignal): Promise<void> {
    await this.#turn(deviceId, signal)
    const { f: file, o: first } = request
    const refuse = async (code: ChunkRefusal) =>
      await this.#ctx.transport.sendBytes(deviceId, 'chunk', refusedFrame(file, first, code))
    const sha256 = await this.#rights.named(deviceId, file)
    if (sha256 === undefined) return void (await refuse('not-allowed'))
    await using artifact = await this.#ctx.storage.open(sha256)
    if (!artifact) {
      this.#ctx.log.error({ sha256 }, 'an artifact that a device may have is not in the storage')
      return void (await refuse('not-found'))
    }
    const count = Math.ceil(artifact.size / request.l)
    // As with ranges (RFC 9110 section 14.1.2): what is beyond the end is left out, unless all of it is.
    const blocks = blocksOf(request).filter((block) => block < count)
    if (blocks.length === 0) return void (await refuse('bad-range'))
    for (const block of blocks) {
      if (signal.aborted) return
      const isLast = block === count - 1
      const sent = await this.#send(deviceId, artifact, { request, block, isLast, signal })
      if (!sent) return
    }
  }

  /** Whether there is a reason to send the next one. */
  async #send(
    deviceId: string,
    artifact: OpenArtifact,
    asked: { request: ChunkRequest; block: number; isLast: boolean; signal: AbortSignal },
  ): Promise<boolean> {
    const { request, block, isLast, signal } = asked
    const { transport, metrics } = this.#ctx
    const { f: file, l: size } = request
    const length = isLast ? artifact.size - block * size : size
    const memory = await this.#claim(frameHeaderBytes + length, signal)
    if (!memory) {
      if (!signal.aborted) {
        const { retrySeconds } = this.#limits
        await transport.sendBytes(deviceId, 'chunk', retryFrame(file, block, retrySeconds))
      }
      return false
    }
    try {
      const frame = memory.buffer.subarray(0, frameHeaderBytes + length)
      writeDataHeader(frame, { file, block, isLast })
      await readAll(artifact, frame.subarray(frameHeaderBytes), block * size)
      if (signal.aborted) return false
      const outcome = await transport.sendBytes(deviceId, 'chunk', frame)
      if (outcome === 'sent') metrics.artifactBytes.inc(length)
      return outcome === 'sent'
    } finally {
      memory.release()
    }
  }

  /** Undefined when there is none in time. */
  async #claim(bytes: number, signal: AbortSignal) {
    try {
      return await this.#pool.claim(bytes, { timeoutMs: this.#limits.waitMs, signal })
    } catch (error) {
      if (error instanceof DomainError && error.code === 'busy') return undefined
      throw error
    }
  }

  /** Waits until the device may be answered again. Rejects when `signal` aborts. */
  async #turn(deviceId: string, signal: AbortSignal): Promise<void> {
    const bucket = this.#bucketOf(deviceId)
    while (!bucket.take()) {
      await sleep(1000 / this.#limits.requestsPerSecond, undefined, { signal })
    }
  }

  #bucketOf(deviceId: string): TokenBucket {
    const { requestsPerSecond, requestBurst } = this.#limits
    const bucket = this.#buckets.get(deviceId) ?? new TokenBucket(requestsPerSecond, requestBurst)
    this.#buckets.delete(deviceId)
    this.#buckets.set(deviceId, bucket)
    const [oldest] = this.#buckets.keys()
    if (this.#buckets.size > maxBuckets && oldest !== undefined) this.#buckets.delete(oldest)
    return bucket
  }
}

/** Fills `target` from `position`. Throws when the file is shorter. */
async function readAll(artifact: OpenArtifact, target: Buffer, position: number): Promise<void> {
  for (let done = 0; done < target.length;) {
    const got = await artifact.read(target.subarray(done), position + done, target.length - done)
    if (got === 0) throw new Error('An artifact is shorter than it was')
    done += got
  }
}
