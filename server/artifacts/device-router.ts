import { type Request, type RequestHandler, type Response, Router } from 'express'

import type { Context } from '../context.ts'
import { createDownloadRights } from '../director/download-rights.ts'
import { DomainError } from '../errors.ts'
import type { Identity } from '../identity.ts'
import { BlockPool, downloadBounds } from './block-pool.ts'
import { multipartOf } from './byte-ranges.ts'
import { reprDigest } from './digest.ts'
import { type Selection, selectRange } from './range.ts'
import { mayRedirect, redirect } from './redirect.ts'
import { type Bytes, sendBytes, type SendLimits, type Stretch } from './send.ts'
import { cacheControl, contentType, type OpenArtifact } from './storage.ts'

export interface DownloadLimits extends SendLimits {
  /** Bytes read and not yet taken by a socket, over all downloads. */
  maxBytesInFlight: number
  /** Blocks that wait for such bytes. */
  maxWaiting: number
  /** At once. */
  maxPerDevice: number
}

const defaults: DownloadLimits = {
  maxBytesInFlight: downloadBounds.maxBytes,
  maxWaiting: downloadBounds.maxWaiting,
  maxPerDevice: 8,
  maxBlockBytes: downloadBounds.blockBytes,
  firstBlockBytes: 256 * 1024,
  minBlockBytes: 16 * 1024,
  waitMs: 10_000,
  blockMs: 30_000,
}

type Deps = Pick<Context, 'db' | 'storage' | 'metrics' | 'log'>

/**
 * `GET` and `HEAD` of artifact bytes for the device whose certificate opened the connection (`res.locals.identity`): only what its
 * current director targets name. `/artifacts/:sha256`, and `/tuf/targets/<dir>/<sha256>.<name>` for stock TUF clients.
 *
 * @param pool shared with other ways to download; one of its own when left out
 */
export function artifactRouter(
  ctx: Deps,
  limits: Partial<DownloadLimits> = {},
  pool?: BlockPool,
): Router {
  const router = Router()
  const download = new Downloads(ctx, { ...defaults, ...limits }, pool)
  const serve =
    (hashIn: (req: Request) => string): RequestHandler =>
    async (req, res) =>
      await download.serve(req, res, hashIn(req))
  router.get(
    '/artifacts/:sha256',
    serve((req) => String(req.params['sha256'])),
  )
  // TUF 1.0.34 section 7.2: the hash stands before the file's name. Hashes are the rights; folders and names are only decoration.
  router.get(
    '/tuf/targets/*path',
    serve((req) => /\/([0-9a-f]{64})\.[^/]*$/.exec(req.path)?.[1] ?? ''),
  )
  return router
}

/**
 * Sends artifact bytes, with ranges and within the same bounds, to a device that was found to have a right to them by other means.
 *
 * @param pool shared with other ways to download; one of its own when left out
 */
export function createArtifactSender(
  ctx: Deps,
  limits: Partial<DownloadLimits> = {},
  pool?: BlockPool,
): (req: Request, res: Response, of: Sent) => Promise<void> {
  const download = new Downloads(ctx, { ...defaults, ...limits }, pool)
  return async (req, res, of) => await download.send(req, res, of)
}

export interface Sent {
  deviceId: string
  sha256: string
  /** Told, and taken in `If-Range`, where a client knows no entity tags. */
  lastModified?: Date
}

class Downloads {
  readonly #ctx: Deps
  readonly #limits: DownloadLimits
  readonly #pool: BlockPool
  readonly #rights: ReturnType<typeof createDownloadRights>
  readonly #running = new Map<string, number>()

  constructor(ctx: Deps, limits: DownloadLimits, pool?: BlockPool) {
    this.#ctx = ctx
    this.#limits = limits
    const { maxBytesInFlight: maxBytes, maxWaiting } = limits
    this.#pool = pool ?? new BlockPool(limits.maxBlockBytes, { maxBytes, maxWaiting })
    this.#rights = createDownloadRights(ctx)
  }

  async serve(req: Request, res: Response, sha256: string): Promise<void> {
    const { deviceId } = identityOf(res)
    // One answer for what is not there, what is not this device's and what is no hash.
    if (!(await this.#rights.mayDownload(deviceId, sha256))) throw notAllowed()
    await this.send(req, res, { deviceId, sha256 })
  }

  async send(req: Request, res: Response, { deviceId, sha256, lastModified }: Sent): Promise<void> {
    const running = (this.#running.get(deviceId) ?? 0) + 1
    if (running > this.#limits.maxPerDevice) {
      throw new DomainError(
        'rate-limited',
        `At most ${this.#limits.maxPerDevice} downloads at once`,
      )
    }
    this.#running.set(deviceId, running)
    try {
      await using artifact = await this.#ctx.storage.open(sha256)
      if (!artifact) {
        this.#ctx.log.error({ sha256 }, 'an artifact that a device may have is not in the storage')
        throw notAllowed()
      }
      await this.#answer(req, res, { artifact, sha256, lastModified })
    } finally {
      const left = (this.#running.get(deviceId) ?? 1) - 1
      if (left > 0) this.#running.set(deviceId, left)
      else this.#running.delete(deviceId)
    }
  }

  async #answer(
    req: Request,
    res: Response,
    {
      artifact,
      sha256,
      lastModified,
    }: { artifact: OpenArtifact; sha256: string; lastModified: Date | undefined },
  ): Promise<void> {
    const { size } = artifact
    const etag = `"${sha256}"`
    const date = lastModified?.toUTCString()
    const validators = {
      ETag: etag,
      ...(date === undefined ? {} : { 'Last-Modified': date }),
      'Cache-Control': cacheControl,
    }
    if (fails(req.get('if-match'), etag)) return void res.status(412).set(validators).end()
    if (matches(req.get('if-none-match'), etag)) return void res.status(304).set(validators).end()
    // Ranges are defined for GET only (RFC 9110 section 14.2).
    const range = req.method === 'GET' ? req.get('range') : undefined
    const asked = req.get('if-range')
    // RFC 9110 section 13.1.5: a date counts when it is exactly the one that was told. Bytes under one hash never change.
    const ifRange = asked !== undefined && asked === date ? etag : asked
    const part = selectRange({ range, ifRange }, { size, etag })
    if (part.kind === 'unsatisfiable') {
      return void res.status(416).set('Content-Range', `bytes */${size}`).end()
    }
    if (artifact.link && mayRedirect(req, part)) {
      if (await redirect(res, artifact.link)) {
        return this.#ctx.metrics.artifactAnswers.inc({ way: 'redirect' })
      }
      this.#ctx.log.warn({ sha256 }, 'no link to an artifact could be made; it was sent from here')
    }
    const { status, stretches, tail, ...rest } = planOf(part, size)
    const headers = {
      ...validators,
      'Accept-Ranges': 'bytes',
      'Repr-Digest': reprDigest(sha256),
      ...rest.headers,
    }
    if (req.method === 'HEAD') return void res.status(status).set(headers).end()
    await this.#send(res, { artifact, stretches, tail, head: { status, headers } })
  }

  async #send(
    res: Response,
    { head, ...bytes }: Bytes & { head: { status: number; headers: Record<string, string> } },
  ): Promise<void> {
    const gone = new AbortController()
    res.once('close', () => gone.abort())
    if (res.destroyed) return
    const { signal } = gone
    const { waitMs, maxBlockBytes, firstBlockBytes } = this.#limits
    // Before the headers, so that "try again later" can still be said.
    const block = Math.min(firstBlockBytes, maxBlockBytes, bytes.stretches[0]?.length ?? 0)
    const first = await this.#pool.claim(block, { timeoutMs: waitMs, signal })
    res.status(head.status).set(head.headers)
    this.#ctx.metrics.artifactAnswers.inc({ way: 'direct' })
    try {
      const sent = await sendBytes(
        res,
        { ...bytes, first },
        {
          pool: this.#pool,
          limits: this.#limits,
          signal,
          read: (from) => this.#ctx.metrics.artifactReads.inc({ from }),
        },
      )
      this.#ctx.metrics.artifactBytes.inc(sent)
    } catch (error) {
      // The socket is destroyed already; there is nobody to tell.
      this.#ctx.log.warn({ err: error }, 'a download broke off')
    }
  }
}

interface Plan {
  status: 200 | 206
  headers: Record<string, string>
  stretches: readonly Stretch[]
  tail?: Buffer
}

function planOf(asked: Exclude<Selection, { kind: 'unsatisfiable' }>, size: number): Plan {
  if (asked.kind === 'parts') {
    const { contentType: multipart, length, ...body } = multipartOf(asked.parts, size)
    // Where the heads of the parts would make it longer than the whole, the whole is sent: no answer is longer than the artifact.
    if (length <= size) {
      const headers = { 'Content-Type': multipart, 'Content-Length': String(length) }
      return { status: 206, headers, ...body }
    }
  }
  const { start, end } = asked.kind === 'part' ? asked : { start: 0, end: size - 1 }
  const length = end - start + 1
  const headers = {
    'Content-Type': contentType,
    'Content-Length': String(length),
    ...(asked.kind === 'part' ? { 'Content-Range': `bytes ${start}-${end}/${size}` } : {}),
  }
  return { status: asked.kind === 'part' ? 206 : 200, headers, stretches: [{ start, length }] }
}

function identityOf(res: Response): Identity {
  const identity: unknown = res.locals['identity']
  if (!identity) throw new DomainError('not-authenticated', 'A device certificate is needed')
  // Set by http/device-auth.ts and by nothing else.
  return identity as Identity
}

function notAllowed(): DomainError {
  return new DomainError('not-allowed', 'This device may not download that')
}

function matches(ifNoneMatch: string | undefined, etag: string): boolean {
  return ifNoneMatch?.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag) ?? false
}

/** RFC 9110 section 13.1.1: only an equal strong tag will do. */
function fails(ifMatch: string | undefined, etag: string): boolean {
  if (ifMatch === undefined || ifMatch.trim() === '*') return false
  return !ifMatch.split(',').some((tag) => tag.trim() === etag)
}
