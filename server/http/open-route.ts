import type { Request, Response } from 'express'
import type { z } from 'zod'

import type { Context } from '../context.ts'
import { assertSameOrigin } from './origin.ts'
import { parse, type Route } from './route.ts'

interface OpenInput<B> {
  ctx: Context
  body: B
  /** Ties audit rows to the log line of the request. */
  requestId: string
  req: Request
  res: Response
}

interface OpenSpec<B, R> {
  path: `/sign-in/${string}`
  /** One line for the OpenAPI document. */
  summary: string
  body: z.ZodType<B>
  response: z.ZodType<R>
  handle: (input: OpenInput<B>) => Promise<R>
}

/** A call for those who have nothing to show yet: signing in. */
export type OpenRoute = Omit<Route, 'permission' | 'scope'>

/** Bytes of a body: the answer of a passkey is the longest there is. */
export const maxOpenBodyBytes = 32 * 1024

/**
 * A POST that asks for no permission, and so for everything else that a stranger can be asked for: JSON, which a page of another origin cannot send without
 * asking first, from a page of this origin or from no page at all.
 */
export function openRoute<R, B>(spec: OpenSpec<B, R>): OpenRoute {
  const { path, summary } = spec
  return {
    method: 'post',
    path,
    summary,
    status: 200,
    creates: false,
    refuses: [],
    costly: false,
    schemas: { body: spec.body, response: spec.response },
    handler: (ctx) => async (req, res) => {
      assertSameOrigin(req, ctx.config)
      const body = parse(spec.body, req.body, 'body')
      const requestId = String(res.locals['requestId'] ?? '')
      const result = await spec.handle({ ctx, body, requestId, req, res })
      res.json(result)
    },
  }
}
