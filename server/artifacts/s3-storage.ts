import { createHash, randomUUID } from 'node:crypto'

import type { Logger } from 'pino'

import type { Clock } from '../clock.ts'
import { ConfigError } from '../config.ts'
import { DomainError } from '../errors.ts'
import type { S3Settings } from '../s3-config.ts'
import { ByteBudget } from './byte-budget.ts'
import { ReadAhead } from './read-ahead.ts'
import { type Patience, S3Bucket, statusOf, type UploadPart } from './s3-bucket.ts'
import { probeBucket, watchBucket } from './s3-health.ts'
import { type Links, openLinks } from './s3-links.ts'
import { remedyOf } from './s3-remedy.ts'
import type { ArtifactStorage, OpenArtifact, ReceivedBytes } from './storage.ts'

const sha256Pattern = /^[0-9a-f]{64}$/
const partBytes = 8 * 1024 * 1024
/** S3 takes at most ten thousand parts. */
const maxParts = 10_000
/** Over all uploads of this process: each holds one part. */
const maxUploadBytes = 8 * partBytes
const uploadWaitMs = 30_000
/** An upload that began so long ago has nobody any more. Its process may be another one than this. */
const staleMs = 24 * 3_600_000
const sweepEveryMs = 3_600_000

interface Deps {
  clock: Clock
  log: Logger
  /** Where artifacts are that are not in the bucket (yet). */
  fallback?: Pick<ArtifactStorage, 'open'>
  patience?: Patience
}

/**
 * Artifacts as objects `<prefix>ab/cd/abcd…` of a bucket: the same names as in the directory, so that any tool copies them.
 * What arrives is a multipart upload under `<prefix>incoming/`, which nobody sees; it becomes an object of its hash when
 * it is kept. Several processes may use one bucket.
 * @throws ConfigError when the store says that these keys or this bucket will not do; a store that does not answer is no
 * reason not to start
 */
export async function openS3Storage(settings: S3Settings, deps: Deps): Promise<ArtifactStorage> {
  const { clock, log, fallback, patience } = deps
  const bucket = await S3Bucket.open(settings, patience)
  let links: Links | undefined
  try {
    links = await openLinks(settings)
    await requireBucket(bucket, settings, log)
  } catch (error) {
    links?.[Symbol.dispose]()
    bucket[Symbol.dispose]()
    throw error
  }
  const uploads = new ByteBudget({ maxBytes: maxUploadBytes, maxWaiting: 64 })
  const blocks = new ReadAhead()
  const sweep = async () =>
    await removeStale(bucket, new Date(clock.now().getTime() - staleMs)).catch((error: unknown) =>
      log.warn({ err: error }, 'what uploads left behind in the bucket was not removed'),
    )
  const timer = setInterval(() => void sweep(), sweepEveryMs)
  timer.unref()
  return {
    receive: async (source, { maxBytes }) => {
      const signal = AbortSignal.timeout(uploadWaitMs)
      const release = await uploads.claim(partBytes, { timeoutMs: uploadWaitMs, signal })
      const incoming = new Incoming(bucket, release)
      try {
        return await incoming.take(source, Math.min(maxBytes, partBytes * maxParts))
      } catch (error) {
        await incoming[Symbol.asyncDispose]()
        throw error
      }
    },
    open: async (sha256) => {
      if (!sha256Pattern.test(sha256)) return undefined
      const size = await bucket.size(keyOf(bucket, sha256))
      if (size === undefined) return await fallback?.open(sha256)
      const object = openObject(bucket, blocks, { sha256, size })
      const key = keyOf(bucket, sha256)
      return links ? { ...object, link: async () => await links.to(key) } : object
    },
    remote: {
      name: settings.bucket,
      probe: async () => await probeBucket(bucket),
      state: watchBucket(bucket),
    },
    [Symbol.asyncDispose]: async () => {
      clearInterval(timer)
      links?.[Symbol.dispose]()
      bucket[Symbol.dispose]()
    },
  }
}

function keyOf(bucket: S3Bucket, sha256: string): string {
  return `${bucket.prefix}${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}`
}

function openObject(
  bucket: S3Bucket,
  blocks: ReadAhead,
  { sha256, size }: { sha256: string; size: number },
): OpenArtifact {
  const fetch = async (start: number, length: number) =>
    await bucket.read(keyOf(bucket, sha256), start, length)
  return {
    size,
    read: async (buffer, position, length) =>
      await blocks.read({ name: sha256, size, fetch }, buffer, { position, length }),
    [Symbol.asyncDispose]: async () => {},
  }
}

/** One upload. What fits in a part is sent when it is kept; more is sent part by part as it comes. */
class Incoming {
  readonly #bucket: S3Bucket
  readonly #release: () => void
  readonly #key: string
  readonly #parts: UploadPart[] = []
  #buffer: Buffer | undefined = Buffer.allocUnsafeSlow(partBytes)
  #filled = 0
  #uploadId: string | undefined
  #isWhole = false
  #kept: Promise<void> | undefined

  constructor(bucket: S3Bucket, release: () => void) {
    this.#bucket = bucket
    this.#release = release
    this.#key = `${bucket.prefix}incoming/${randomUUID()}`
  }

  async take(source: AsyncIterable<Buffer>, maxBytes: number): Promise<ReceivedBytes> {
    const hash = createHash('sha256')
    let size = 0
    for await (const chunk of source) {
      size += chunk.length
      if (size > maxBytes) {
        throw new DomainError('too-large', `An artifact has at most ${maxBytes} bytes`, {
          maxBytes,
        })
      }
      hash.update(chunk)
      await this.#add(chunk)
    }
    if (this.#uploadId !== undefined) {
      if (this.#filled > 0) await this.#sendPart()
      this.#free()
    }
    const sha256 = hash.digest('hex')
    return {
      sha256,
      size,
      keep: async () => {
        const kept = (this.#kept ??= this.#keep(sha256, size))
        try {
          await kept
        } catch (error) {
          this.#kept = undefined
          throw error
        }
      },
      [Symbol.asyncDispose]: async () => await this[Symbol.asyncDispose](),
    }
  }

  async #add(chunk: Buffer): Promise<void> {
    for (let done = 0; done < chunk.length;) {
      const buffer = this.#buffer
      if (!buffer) throw new Error('an upload that has ended takes nothing more')
      // Sent when more comes, so that exactly one part is still a small upload.
      if (this.#filled === partBytes) await this.#sendPart()
      const took = chunk.copy(buffer, this.#filled, done)
      this.#filled += took
      done += took
    }
  }

  async #sendPart(): Promise<void> {
    if (!this.#buffer) return
    this.#uploadId ??= await this.#bucket.beginUpload(this.#key)
    const bytes = this.#buffer.subarray(0, this.#filled)
    const number = this.#parts.length + 1
    this.#parts.push(await this.#bucket.uploadPart(this.#key, this.#uploadId, { number, bytes }))
    this.#filled = 0
  }

  /** Twice, and in two processes, makes the same object of the same bytes: whichever comes last changes nothing. */
  async #keep(sha256: string, size: number): Promise<void> {
    const bucket = this.#bucket
    const key = keyOf(bucket, sha256)
    if ((await bucket.size(key)) === size) return
    if (this.#uploadId === undefined) {
      if (this.#buffer) await bucket.put(key, this.#buffer.subarray(0, size))
    } else {
      if (!this.#isWhole) await bucket.completeUpload(this.#key, this.#uploadId, this.#parts)
      this.#isWhole = true
      // What was put together, before anybody sees it under its name.
      await this.#require(this.#key, size)
      await bucket.copy(this.#key, key, size)
    }
    await this.#require(key, size)
  }

  async #require(key: string, size: number): Promise<void> {
    const got = await this.#bucket.size(key)
    if (got === size) return
    throw new DomainError('busy', 'The storage of artifacts did not keep what it was sent', {
      reason: 'storage-unavailable',
    })
  }

  #free(): void {
    this.#buffer = undefined
    this.#release()
  }

  /** What cannot be removed now is removed by the sweep. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#free()
    const id = this.#uploadId
    if (id === undefined) return
    this.#uploadId = undefined
    const removal = this.#isWhole
      ? this.#bucket.remove(this.#key)
      : this.#bucket.abortUpload(this.#key, id)
    await removal.catch(() => {})
  }
}

/** One page at a time; a second process that does the same finds nothing left, which is no failure. */
export async function removeStale(bucket: S3Bucket, before: Date): Promise<void> {
  const { uploads, objects } = await bucket.list(`${bucket.prefix}incoming/`)
  for (const { key, uploadId, at } of uploads) {
    if (at < before) await bucket.abortUpload(key, uploadId).catch(ignoreAbsent)
  }
  for (const { key, at } of objects) {
    if (at < before) await bucket.remove(key).catch(ignoreAbsent)
  }
}

function ignoreAbsent(error: unknown): void {
  if (statusOf(error) !== 404) throw error
}

async function requireBucket(bucket: S3Bucket, settings: S3Settings, log: Logger): Promise<void> {
  const fault = await probeBucket(bucket)
  if (!fault) return
  const { status, why } = fault
  if (status === undefined || status >= 500 || status === 429) {
    log.warn({ why }, 'the bucket of artifacts does not answer; downloads wait for it')
    return
  }
  throw new ConfigError(
    `FLEETSEAL_S3_…: the store refuses to ${fault.step} an object in the bucket ${settings.bucket} (${status} ${why}). ${remedyOf(fault)}`,
  )
}
