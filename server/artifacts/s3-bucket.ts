import { createHash } from 'node:crypto'
import { addAbortSignal, Readable } from 'node:stream'

import type * as S3 from '@aws-sdk/client-s3'

import { DomainError } from '../errors.ts'
import type { S3Settings } from '../s3-config.ts'

type Sdk = typeof S3

/** How long one request may take, its body and that the client asks again at most twice included. */
export interface Patience {
  /** Whatever is at most `smallBytes` long. */
  askMs: number
  /** A part or a block of an artifact. */
  transferMs: number
}

const smallBytes = 64 * 1024
const patient: Patience = { askMs: 15_000, transferMs: 60_000 }
/** A copy is made by the store alone, and of a large object takes it long. */
const copyDeadlineMs = 600_000
const attempts = 3
const retryAfterSeconds = 30
/** Larger objects are copied in pieces (S3 copies at most 5 GiB in one request). */
const copyPartBytes = 1024 ** 3

export interface UploadPart {
  PartNumber: number
  ETag: string
}

export interface Stale {
  uploads: { key: string; uploadId: string; at: Date }[]
  objects: { key: string; at: Date }[]
}

/**
 * The few requests that artifacts need of a bucket (Amazon S3 API 2006-03-01). Every one has a deadline. Bytes go with their
 * MD5, which every store compares (RFC 1864): against accidents, for devices verify what they install themselves.
 * @throws DomainError `busy` for whatever keeps the store from doing it, without anything of its answer that may hold a key
 */
export class S3Bucket implements Disposable {
  readonly #sdk: Sdk
  readonly #client: S3.S3Client
  readonly #bucket: string
  readonly #patience: Patience
  readonly prefix: string
  #isFailing = false
  #answeredAt = performance.now()

  private constructor(sdk: Sdk, settings: S3Settings, patience: Patience) {
    this.#sdk = sdk
    this.#patience = patience
    this.#bucket = settings.bucket
    this.prefix = settings.prefix
    this.#client = new sdk.S3Client({
      endpoint: settings.endpoint,
      region: settings.region,
      forcePathStyle: settings.pathStyle,
      credentials: {
        accessKeyId: settings.accessKeyId,
        secretAccessKey: settings.secretAccessKey,
      },
      maxAttempts: attempts,
      // Not every store knows the newer checksums; all know Content-MD5.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: 5_000,
        requestTimeout: 30_000,
        throwOnRequestTimeout: true,
        httpAgent: { maxSockets: 32 },
        httpsAgent: { maxSockets: 32 },
      },
    })
  }

  /** The client is large, and loaded only where it is used. */
  static async open(settings: S3Settings, patience = patient): Promise<S3Bucket> {
    return new S3Bucket(await import('@aws-sdk/client-s3'), settings, patience)
  }

  /** Whether the last request that ended was not answered, or refused. That something is absent is an answer. */
  get isFailing(): boolean {
    return this.#isFailing
  }

  /** Since the last request ended. */
  get quietMs(): number {
    return performance.now() - this.#answeredAt
  }

  async put(key: string, bytes: Buffer): Promise<void> {
    const command = new this.#sdk.PutObjectCommand({
      ...this.#at(key),
      Body: bytes,
      ContentMD5: md5(bytes),
    })
    await this.#ask(
      (abortSignal) => this.#client.send(command, { abortSignal }),
      this.#within(bytes.length),
    )
  }

  /** Size in bytes; undefined when there is none. */
  async size(key: string): Promise<number | undefined> {
    const command = new this.#sdk.HeadObjectCommand(this.#at(key))
    try {
      const { ContentLength } = await this.#ask((abortSignal) =>
        this.#client.send(command, { abortSignal }),
      )
      return ContentLength
    } catch (error) {
      if (statusOf(error) === 404) return undefined
      throw error
    }
  }

  /** Exactly `length` bytes from `start`; less or more is a failure of the store. */
  async read(key: string, start: number, length: number): Promise<Buffer> {
    const command = new this.#sdk.GetObjectCommand({
      ...this.#at(key),
      Range: `bytes=${start}-${start + length - 1}`,
    })
    return await this.#ask(async (abortSignal) => {
      const { Body } = await this.#client.send(command, { abortSignal })
      if (!(Body instanceof Readable)) throw new Error('no body')
      return await readExactly(addAbortSignal(abortSignal, Body), length)
    }, this.#within(length))
  }

  async remove(key: string): Promise<void> {
    const command = new this.#sdk.DeleteObjectCommand(this.#at(key))
    await this.#ask((abortSignal) => this.#client.send(command, { abortSignal }))
  }

  async beginUpload(key: string): Promise<string> {
    const command = new this.#sdk.CreateMultipartUploadCommand(this.#at(key))
    const { UploadId } = await this.#ask((abortSignal) =>
      this.#client.send(command, { abortSignal }),
    )
    return given(UploadId)
  }

  async uploadPart(
    key: string,
    UploadId: string,
    { number, bytes }: { number: number; bytes: Buffer },
  ): Promise<UploadPart> {
    const command = new this.#sdk.UploadPartCommand({
      ...this.#at(key),
      UploadId,
      PartNumber: number,
      Body: bytes,
      ContentMD5: md5(bytes),
    })
    const { ETag } = await this.#ask(
      (abortSignal) => this.#client.send(command, { abortSignal }),
      this.#patience.transferMs,
    )
    return { PartNumber: number, ETag: given(ETag) }
  }

  async completeUpload(key: string, UploadId: string, Parts: UploadPart[]): Promise<void> {
    const command = new this.#sdk.CompleteMultipartUploadCommand({
      ...this.#at(key),
      UploadId,
      MultipartUpload: { Parts },
    })
    await this.#ask((abortSignal) => this.#client.send(command, { abortSignal }), copyDeadlineMs)
  }

  async abortUpload(key: string, UploadId: string): Promise<void> {
    const command = new this.#sdk.AbortMultipartUploadCommand({ ...this.#at(key), UploadId })
    await this.#ask((abortSignal) => this.#client.send(command, { abortSignal }))
  }

  /** Inside the store. The copy appears at once and whole. */
  async copy(from: string, to: string, size: number): Promise<void> {
    const CopySource = `${this.#bucket}/${from}`
    if (size <= copyPartBytes) {
      const command = new this.#sdk.CopyObjectCommand({ ...this.#at(to), CopySource })
      await this.#ask((abortSignal) => this.#client.send(command, { abortSignal }), copyDeadlineMs)
      return
    }
    const UploadId = await this.beginUpload(to)
    try {
      const parts: UploadPart[] = []
      for (let start = 0; start < size; start += copyPartBytes) {
        const PartNumber = parts.length + 1
        const command = new this.#sdk.UploadPartCopyCommand({
          ...this.#at(to),
          CopySource,
          UploadId,
          PartNumber,
          CopySourceRange: `bytes=${start}-${Math.min(size, start + copyPartBytes) - 1}`,
        })
        const { CopyPartResult } = await this.#ask(
          (abortSignal) => this.#client.send(command, { abortSignal }),
          copyDeadlineMs,
        )
        parts.push({ PartNumber, ETag: given(CopyPartResult?.ETag) })
      }
      await this.completeUpload(to, UploadId, parts)
    } catch (error) {
      await this.abortUpload(to, UploadId).catch(() => {})
      throw error
    }
  }

  /** The first of what is under `prefix`, at most a thousand of each. */
  async list(prefix: string): Promise<Stale> {
    const where = { Bucket: this.#bucket, Prefix: prefix }
    const uploads = new this.#sdk.ListMultipartUploadsCommand(where)
    const objects = new this.#sdk.ListObjectsV2Command(where)
    const [begun, kept] = await Promise.all([
      this.#ask((abortSignal) => this.#client.send(uploads, { abortSignal })),
      this.#ask((abortSignal) => this.#client.send(objects, { abortSignal })),
    ])
    return {
      uploads: (begun.Uploads ?? []).flatMap(({ Key, UploadId, Initiated }) =>
        Key && UploadId && Initiated ? [{ key: Key, uploadId: UploadId, at: Initiated }] : [],
      ),
      objects: (kept.Contents ?? []).flatMap(({ Key, LastModified }) =>
        Key && LastModified ? [{ key: Key, at: LastModified }] : [],
      ),
    }
  }

  [Symbol.dispose](): void {
    this.#client.destroy()
  }

  #at(key: string) {
    return { Bucket: this.#bucket, Key: key }
  }

  #within(bytes: number): number {
    return bytes > smallBytes ? this.#patience.transferMs : this.#patience.askMs
  }

  async #ask<T>(
    request: (signal: AbortSignal) => Promise<T>,
    withinMs = this.#patience.askMs,
  ): Promise<T> {
    try {
      const answer = await request(AbortSignal.timeout(withinMs))
      this.#isFailing = false
      return answer
    } catch (error) {
      const refusal = unavailable(error)
      this.#isFailing = statusOf(refusal) !== 404
      throw refusal
    } finally {
      this.#answeredAt = performance.now()
    }
  }
}

/** What the store answered with, when it answered: 403, 404… */
export function statusOf(error: unknown): number | undefined {
  return failureOf(error)?.status
}

export function failureOf(error: unknown): StoreFailure | undefined {
  const cause = error instanceof DomainError ? error.cause : undefined
  return cause instanceof StoreFailure ? cause : undefined
}

/** The store's name for what went wrong, and its status: the rest of its answer may hold an access key or what was signed. */
export class StoreFailure extends Error {
  readonly status: number | undefined
  /** In which the bucket is, where the store says that. */
  readonly region: string | undefined

  constructor(error: unknown) {
    const name = error instanceof Error && /^\w{1,64}$/.test(error.name) ? error.name : 'Error'
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined
    super(code === undefined ? name : `${name} (${code})`)
    const meta: unknown =
      error instanceof Error && '$metadata' in error ? error.$metadata : undefined
    const status: unknown =
      typeof meta === 'object' && meta !== null && 'httpStatusCode' in meta
        ? meta.httpStatusCode
        : undefined
    this.status = typeof status === 'number' ? status : undefined
    this.region = regionIn(error)
  }
}

/** Of `x-amz-bucket-region` with a redirect, or of the body with `AuthorizationHeaderMalformed`. */
function regionIn(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  const response: unknown = '$response' in error ? error.$response : undefined
  const headers: unknown =
    typeof response === 'object' && response && 'headers' in response ? response.headers : undefined
  const told: unknown =
    typeof headers === 'object' && headers && 'x-amz-bucket-region' in headers
      ? headers['x-amz-bucket-region']
      : 'Region' in error && error.Region
  return typeof told === 'string' && /^[a-z0-9-]{1,64}$/.test(told) ? told : undefined
}

function unavailable(error: unknown): DomainError {
  return new DomainError(
    'busy',
    'The storage of artifacts does not do what is asked of it; try again later',
    { reason: 'storage-unavailable', retryAfterSeconds },
    { cause: new StoreFailure(error) },
  )
}

function given(value: string | undefined): string {
  if (value === undefined) throw unavailable(new Error('the answer is not complete'))
  return value
}

function md5(bytes: Buffer): string {
  return createHash('md5').update(bytes).digest('base64')
}

async function readExactly(body: AsyncIterable<Buffer>, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length)
  let done = 0
  for await (const chunk of body) {
    if (done + chunk.length > length) throw new Error('more than was asked for')
    done += chunk.copy(bytes, done)
  }
  if (done !== length) throw new Error('less than was asked for')
  return bytes
}
