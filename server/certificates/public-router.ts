import { type Request, type Response, Router } from 'express'

import { findAuthorityCertificate } from '../authorities/authority-certificate.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { uuidPattern } from '../ids.ts'
import {
  type CrlPart,
  type CrlRow,
  findLatestCrl,
  findLatestCrlHead,
  wholeList,
} from './crl-store.ts'

type Deps = Pick<Context, 'db' | 'clock'> & { authorities: Pick<Context['authorities'], 'root'> }

const maxRemembered = 64

/** CRLs and CA certificates for anybody (RFC 5280 §4.2.1.13 and §4.2.2.1): what the URLs in certificates point to. */
export function publicRouter(ctx: Deps): Router {
  const router = Router({ caseSensitive: true, strict: true })
  const crls = new LatestCrls(ctx)
  router.get('/crl/:name', async (req, res) => {
    const crl = await crls.get(...crlIn(req))
    if (!crl) throw notThere()
    const seconds = Math.max(
      0,
      Math.floor((crl.next_update.getTime() - ctx.clock.now().getTime()) / 1000),
    )
    res.locals['route'] = '/crl/:name'
    // A cache may keep it, but must ask whether there is a newer one: a revocation is not to wait for a cache.
    res.setHeader('Cache-Control', `public, max-age=0, must-revalidate, stale-if-error=${seconds}`)
    res.setHeader('Last-Modified', crl.this_update.toUTCString())
    res.setHeader('ETag', `"${crl.number}"`)
    send(req, res, 'application/pkix-crl', crl.der)
  })
  router.get('/ca/:name', async (req, res) => {
    const name = String(req.params['name'])
    const der =
      name === 'root.cer'
        ? ctx.authorities.root.der
        : await findAuthorityCertificate(ctx.db, idIn(req, 'cer'))
    if (!der) throw notThere()
    res.locals['route'] = '/ca/:name'
    res.setHeader('Cache-Control', 'public, max-age=86400')
    send(req, res, 'application/pkix-cert', der)
  })
  return router
}

/** Bytes are read again only when the number changed: one small statement a request, however long the list is. */
class LatestCrls {
  readonly #ctx: Deps
  readonly #known = new Map<string, CrlRow>()

  constructor(ctx: Deps) {
    this.#ctx = ctx
  }

  async get(authorityId: string, part: CrlPart): Promise<CrlRow | undefined> {
    const head = await findLatestCrlHead(this.#ctx.db, authorityId, part)
    if (!head) return undefined
    const key = `${authorityId} ${part.shard} ${part.isDelta}`
    const known = this.#known.get(key)
    if (known?.number === head.number) return known
    const crl = await findLatestCrl(this.#ctx.db, authorityId, part)
    if (crl) {
      this.#known.delete(key)
      this.#known.set(key, crl)
      const [oldest] = this.#known.keys()
      if (this.#known.size > maxRemembered && oldest !== undefined) this.#known.delete(oldest)
    }
    return crl
  }
}

function send(req: Request, res: Response, contentType: string, der: Buffer): void {
  res.setHeader('Content-Type', contentType)
  if (req.fresh) {
    res.status(304).end()
    return
  }
  res.setHeader('Content-Length', der.length)
  res.end(req.method === 'HEAD' ? undefined : der)
}

/** `ID.crl`, `ID-SHARD.crl`, and each with `-delta` before the ending; no other spelling. */
function crlIn(req: Request): [authorityId: string, part: CrlPart] {
  const name = String(req.params['name'])
  const [, id = '', shard, delta] =
    /^([0-9a-f-]{36})(?:-(0|[1-9]\d{0,2}))?(-delta)?\.crl$/.exec(name) ?? []
  if (!uuidPattern.test(id)) throw notThere()
  const part = { shard: shard === undefined ? wholeList : Number(shard) }
  return [id, { ...part, isDelta: delta !== undefined }]
}

function idIn(req: Request, extension: string): string {
  const [id = '', found, ...more] = String(req.params['name']).split('.')
  if (!uuidPattern.test(id) || found !== extension || more.length > 0) throw notThere()
  return id
}

function notThere(): DomainError {
  return new DomainError('not-found', 'There is no such file')
}
