import express, { type Express } from 'express'

import { publicRouter } from '../certificates/public-router.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { renderProblem } from './problem.ts'
import { requestLog } from './request-log.ts'

/** The listener for anybody, without TLS: CRLs and CA certificates, which are signed themselves. */
export function createPublicApp(ctx: Context): Express {
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.use(requestLog(ctx, 'public'))
  app.use((req, res, next) => {
    if (req.method === 'GET' || req.method === 'HEAD') return next()
    res.setHeader('Allow', 'GET, HEAD')
    throw new DomainError('method-not-allowed', 'Use GET')
  })
  app.use(publicRouter(ctx))
  app.use((req) => {
    throw new DomainError('not-found', `There is nothing at ${req.path.slice(0, 200)}`)
  })
  app.use(renderProblem)
  return app
}
