import express, { type Request, type Response, Router } from 'express'

import { PkiError } from '../../pki/errors.ts'
import { type OcspAnswer, ocspError } from '../../pki/ocsp/answer.ts'
import { ocspCacheHeaders } from '../../pki/ocsp/caching.ts'
import { decodeOcspGet, maxOcspRequestBytes } from '../../pki/ocsp/request.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { OcspDesk } from './ocsp.ts'

const requestType = 'application/ocsp-request'

/**
 * OCSP over HTTP (RFC 6960 appendix A.1, RFC 5019): POST to `/ocsp`, or GET with the request in the path. Whatever was asked,
 * the HTTP status is 200 and the answer says the rest; only a body of another type or over 16 KiB is refused by HTTP.
 */
export function ocspRouter(ctx: Pick<Context, 'db' | 'clock' | 'log' | 'authorities'>): Router {
  const router = Router({ caseSensitive: true, strict: true })
  const desk = new OcspDesk(ctx)
  const readBody = express.raw({ type: requestType, limit: maxOcspRequestBytes, inflate: false })
  router.post('/ocsp', readBody, async (req, res) => {
    const body: unknown = req.body
    if (!Buffer.isBuffer(body)) {
      throw new DomainError('unsupported-media-type', `Send ${requestType}`)
    }
    res.locals['route'] = '/ocsp'
    res.setHeader('Cache-Control', 'no-store')
    send(req, res, await desk.answer(body))
  })
  router.use('/ocsp', async (req, res, next) => {
    if (req.method !== 'GET' && req.method !== 'HEAD') return next()
    // The path as it came: base64 has slashes, which clients escape or do not.
    const [path = ''] = req.originalUrl.slice('/ocsp/'.length).split('?')
    const answer = await answerPath(desk, path)
    res.locals['route'] = '/ocsp/:request'
    res.setHeaders(new Map(Object.entries(ocspCacheHeaders(answer, ctx.clock.now()))))
    send(req, res, answer)
  })
  return router
}

async function answerPath(desk: OcspDesk, path: string): Promise<OcspAnswer> {
  try {
    return await desk.answer(decodeOcspGet(path))
  } catch (error) {
    if (error instanceof PkiError) return ocspError('malformedRequest')
    throw error
  }
}

function send(req: Request, res: Response, { der }: OcspAnswer): void {
  res.setHeader('Content-Type', 'application/ocsp-response')
  if (req.fresh) {
    res.status(304).end()
    return
  }
  res.setHeader('Content-Length', der.length)
  res.end(req.method === 'HEAD' ? undefined : der)
}
