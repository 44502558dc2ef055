import { randomUUID } from 'node:crypto'

import type { RequestHandler, Response } from 'express'

import type { Context } from '../context.ts'
import { startRequest } from '../tracing.ts'

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])

/**
 * Gives every request an id (the caller's `X-Request-Id` when it looks like one) and writes one line about it when
 * it ended: the route's pattern and never the URL, because a query may hold what does not belong in a log. What the route calls
 * `routine` is written at level `debug`: a fleet that polls would drown the rest.
 */
export function requestLog(
  { log, metrics }: Pick<Context, 'log' | 'metrics'>,
  listener: string,
): RequestHandler {
  return (req, res, next) => {
    const given = req.get('x-request-id')
    const requestId =
      given !== undefined && /^[A-Za-z0-9._-]{8,64}$/.test(given) ? given : randomUUID()
    res.locals['requestId'] = requestId
    res.locals['log'] = log.child({ requestId })
    res.setHeader('X-Request-Id', requestId)
    const began = process.hrtime.bigint()
    const span = startRequest(req.headers, {
      'fleetseal.listener': listener,
      'fleetseal.request_id': requestId,
    })
    res.once('close', () => {
      const ms = Number(process.hrtime.bigint() - began) / 1e6
      // 499: the caller went away before the answer was sent.
      const status = res.writableFinished ? res.statusCode : 499
      const method = methods.has(req.method) ? req.method : 'OTHER'
      metrics.httpRequests.observe(
        { listener, method, status: `${Math.floor(status / 100)}xx` },
        ms / 1000,
      )
      span?.end({ method, route: routeOf(res), status })
      const level = status >= 500 ? 'error' : res.locals['routine'] === true ? 'debug' : 'info'
      log[level](
        {
          listener,
          requestId,
          method,
          route: routeOf(res),
          status,
          ms: Math.round(ms * 10) / 10,
          actor: actorOf(res),
          problem: textOf(res.locals['problem']),
          traceId: span?.traceId,
        },
        'request',
      )
    })
    if (span) span.run(next)
    else next()
  }
}

/** Told by whoever matched the request; undefined for a path that is not ours. */
function routeOf(res: Response): string | undefined {
  return textOf(res.locals['route'])
}

function actorOf(res: Response): string | undefined {
  const actor: unknown = res.locals['actor']
  return typeof actor === 'object' && actor !== null && 'id' in actor ? textOf(actor.id) : undefined
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
