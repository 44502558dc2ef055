import express, { type Express } from 'express'

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { metricsText } from './metrics-text.ts'
import { renderProblem } from './problem.ts'
import { createReadiness } from './readiness.ts'
import { requestLog } from './request-log.ts'

/**
 * What a broker that nobody started but an operator has beside the listeners of devices: `/healthz`, `/readyz` and `/metrics`, as on the
 * operators' listener, without TLS.
 *
 * @param isToken whether an `Authorization` header carries the token for `/metrics`
 */
export function createBrokerApp(
  ctx: Context,
  isToken: (authorization: string | undefined) => Promise<boolean>,
): Express {
  const app = express()
  const readiness = createReadiness(ctx)
  app.disable('x-powered-by')
  app.disable('etag')
  app.use(requestLog(ctx, 'metrics'))
  app.get('/healthz', (_req, res) => {
    res.json({ status: 'ok' })
  })
  app.get('/readyz', async (_req, res) => {
    const answer = await readiness()
    res.status(answer.status === 'ready' ? 200 : 503).json(answer)
  })
  app.get('/metrics', async (req, res) => {
    if (!(await isToken(req.get('authorization'))))
      throw new DomainError(
        'not-authenticated',
        'Show the token of the file metrics-token in the data directory: Authorization: Bearer fm_…',
      )
    res.type(ctx.metrics.registry.contentType).send(await metricsText(ctx))
  })
  app.use((req) => {
    throw new DomainError('not-found', `There is nothing at ${req.path.slice(0, 200)}`)
  })
  app.use(renderProblem)
  return app
}
