import express, { type Express, type RequestHandler } from 'express'

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { limitCostly } from './rate.ts'
import type { Route } from './route.ts'

const maxBodyBytes = 256 * 1024

/** Only for routes that take a body; those that stream read the request themselves. */
function jsonBody(limit: number): RequestHandler {
  const parseJson = express.json({ limit, strict: true, inflate: false })
  return (req, res, next) => {
    // `is` answers null when there is no body: the schema then says what is missing.
    if (req.is('application/json') === false) {
      throw new DomainError('unsupported-media-type', 'Send the body as application/json')
    }
    parseJson(req, res, next)
  }
}

/**
 * Mounts routes under a prefix, in their order, then answers 405 with `Allow` where a path is known but its method is
 * not. HEAD is answered wherever GET is.
 */
export function mountRoutes(
  app: Express,
  ctx: Context,
  mount: {
    prefix: string
    routes: readonly Pick<Route, 'method' | 'path' | 'schemas' | 'handler' | 'costly'>[]
    /** Of a body. */
    maxBytes?: number
  },
): void {
  const readBody = jsonBody(mount.maxBytes ?? maxBodyBytes)
  const allowed = new Map<string, string[]>()
  const costly = limitCostly()
  for (const route of mount.routes) {
    const path = `${mount.prefix}${route.path}`
    const name: RequestHandler = (_req, res, next) => {
      res.locals['route'] = path
      next()
    }
    const before = [...(route.costly ? [costly] : []), ...(route.schemas.body ? [readBody] : [])]
    app[route.method](path, name, ...before, route.handler(ctx))
    const methods = allowed.get(path) ?? []
    allowed.set(path, [
      ...methods,
      ...(route.method === 'get' ? ['GET', 'HEAD'] : [route.method.toUpperCase()]),
    ])
  }
  for (const [path, methods] of allowed) {
    app.all(path, (_req, res) => {
      res.locals['route'] = path
      res.setHeader('Allow', methods.join(', '))
      throw new DomainError('method-not-allowed', `Use ${methods.join(', ')}`, { allow: methods })
    })
  }
}
