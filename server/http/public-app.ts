import express, { type Express } from 'express'

import { ocspRouter } from '../certificates/ocsp-router.ts'
import { publicRouter } from '../certificates/public-router.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { renderProblem } from './problem.ts'
import { requestLog } from './request-log.ts'

/** The listener for anybody, without TLS: CRLs, OCSP answers and CA certificates, which are signed themselves. */
export function createPublicApp(ctx: Context): Express {
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.use(requestLog(ctx, 'public'))
  app.use((req, res, next) => {
    const isQuestion = req.method === 'POST' && req.path === '/ocsp'
    if (req.method === 'GET' || req.method === 'HEAD' || isQuestion) return next()
    res.setHeader('Allow', 'GET, HEAD')
    throw new DomainError('method-not-allowed', 'Use GET')
  })
  app.use(ocspRouter(ctx))
  app.use(publicRouter(ctx))
  app.use((req) => {
    throw new DomainError('not-found', `There is nothing at ${req.path.slice(0, 200)}`)
  })
  app.use(renderProblem)
  return app
}
