import type { Response } from 'express'
import type { z } from 'zod'

import type { Context } from '../context.ts'
import type { ErrorCode } from '../errors.ts'
import type { Permission } from '../protocol/permissions.ts'
import { allowedActor, allowedReach, type RouteScope } from './access.ts'
import { type Input, parse, type Route } from './route.ts'

interface StreamSpec<P, Q, S> {
  path: `/${string}`
  /** One line for the OpenAPI document. */
  summary: string
  permission: Permission
  scope: RouteScope
  params?: z.ZodType<P>
  query?: z.ZodType<Q>
  /** What is sent, by media type, for the OpenAPI document; of a stream of events, what one carries. */
  answers: Readonly<Record<string, z.ZodType>>
  /** What it may be refused with beside what its form makes possible (openapi-answers.ts). */
  refuses?: readonly ErrorCode[]
  /** Works long or holds much: few of them run at a time (costly.ts). */
  costly?: boolean
  /** Made once for all requests of an app. */
  shared: (ctx: Context) => S
  /** Writes the answer itself, and ends it. What it throws before it wrote anything becomes a problem. */
  handle: (
    input: Omit<Input<P, Q, undefined>, 'newId' | 'body' | 'ifMatch'> & StreamOut<S>,
  ) => Promise<void>
}

interface StreamOut<S> {
  res: Response
  shared: S
}

/** A GET whose answer is sent piece by piece: `route()` for what is too long, or too lasting, to be one JSON value. */
export function streamRoute<P = undefined, Q = undefined, S = undefined>(
  spec: StreamSpec<P, Q, S>,
): Route {
  const { path, summary, permission, scope, answers } = spec
  const [response] = Object.values(answers)
  if (!response) throw new Error(`${path} answers nothing`)
  return {
    method: 'get',
    path,
    summary,
    permission,
    scope,
    status: 200,
    creates: false,
    refuses: spec.refuses ?? [],
    costly: spec.costly ?? false,
    answers,
    schemas: {
      ...(spec.params ? { params: spec.params } : {}),
      ...(spec.query ? { query: spec.query } : {}),
      response,
    },
    handler: (ctx) => {
      const guard = { ...spec, method: 'get' }
      const shared = spec.shared(ctx)
      return async (req, res) => {
        const actor = allowedActor(req, guard, ctx)
        const reach = allowedReach(actor, guard, undefined, ctx)
        const params = parse(spec.params, req.params, 'path')
        const query = parse(spec.query, req.query, 'query')
        await spec.handle({ ctx, actor, reach, params, query, req, res, shared })
      }
    },
  }
}
