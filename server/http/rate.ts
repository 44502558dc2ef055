import type { RequestHandler, Response } from 'express'
import { rateLimit } from 'express-rate-limit'

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'

const windowS = 6

/**
 * `config.apiRate` requests a second of one credential, on the average of six seconds, in this process; told by `RateLimit` and `RateLimit-Policy`
 * (draft-ietf-httpapi-ratelimit-headers-08). Behind authentication: whoever has no credential is limited by address there.
 */
export function limitRate({ config }: Pick<Context, 'config'>): RequestHandler {
  return rateLimit({
    windowMs: windowS * 1000,
    limit: config.apiRate * windowS,
    standardHeaders: 'draft-8',
    legacyHeaders: false,
    identifier: 'api',
    keyGenerator: (_req, res) => actorId(res),
    handler: (_req, _res, next) =>
      next(
        new DomainError(
          'rate-limited',
          `More than ${config.apiRate * windowS} requests in ${windowS} seconds: wait, or ask for less`,
          { retryAfterSeconds: windowS },
        ),
      ),
  })
}

/** What runs of `costly` routes at a time in one process: of one caller, and of all. */
const perCaller = 4
const ofAll = 16

/** For routes that work long or hold much. One instance for all of an app; a caller's requests beyond the bound are refused, not queued. */
export function limitCostly(): RequestHandler {
  const running = new Map<string, number>()
  let total = 0
  return (_req, res, next) => {
    const id = actorId(res)
    const own = running.get(id) ?? 0
    if (own >= perCaller || total >= ofAll) {
      const whose = own >= perCaller ? `You have ${own}` : `The server has ${total}`
      throw new DomainError(
        'rate-limited',
        `${whose} requests of this kind running: wait for one`,
        {
          retryAfterSeconds: 2,
        },
      )
    }
    total += 1
    running.set(id, own + 1)
    // Also when the caller goes away.
    res.once('close', () => {
      total -= 1
      const left = (running.get(id) ?? 1) - 1
      if (left > 0) running.set(id, left)
      else running.delete(id)
    })
    next()
  }
}

function actorId(res: Response): string {
  const actor: unknown = res.locals['actor']
  const id = typeof actor === 'object' && actor !== null && 'id' in actor ? actor.id : undefined
  // Routes are mounted behind authentication; where they are not, all callers are one.
  return typeof id === 'string' ? id : ''
}
