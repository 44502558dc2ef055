import type { Request, RequestHandler } from 'express'
import { z } from 'zod'

import type { Context } from '../context.ts'
import { DomainError, type ErrorCode } from '../errors.ts'
import { newId } from '../ids.ts'
import type { Reach } from '../protocol/reach.ts'
import type { Versions } from '../version.ts'
import { type Actor, allowedActor, allowedReach, type Needed, type RouteScope } from './access.ts'
import { reserveId } from './idempotency.ts'
import { checkPlain } from './plain-value.ts'
import { assertStepUp, type StepUp } from './step-up.ts'
import { sendVersion, type VersionField, wantedVersions } from './version-header.ts'

export interface Input<P, Q, B> {
  ctx: Context
  actor: Actor
  /** Where the caller may do this. A route of the scope `devices` keeps to it; for the others it is of no matter. */
  reach: Reach
  params: P
  query: Q
  body: B
  /**
   * The id to give to what the call creates. With an `Idempotency-Key` header the same key gets the same id again, so a
   * service that inserts `on conflict (id) do nothing` and returns the row is safe to repeat.
   */
  newId: string
  /** Of a change of something `versioned`: what it has to be now (version.ts); undefined: whatever it is. */
  ifMatch: Versions | undefined
  /** For routes that stream (`body` is not parsed when the schema is absent); aborts when the caller goes away. */
  req: Request
}

interface RouteSpec<P, Q, B, R> {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  path: `/${string}`
  /** One line for the OpenAPI document. */
  summary: string
  /** What its caller has to be allowed. There is no default: leaving it out does not compile. */
  permission: Needed
  /** What it covers, and so whether somebody who is limited to groups may call it. */
  scope: RouteScope
  /** Needs a second factor that was shown within the last minutes: always, or for some actions. */
  stepUp?: StepUp
  params?: z.ZodType<P>
  query?: z.ZodType<Q>
  body?: z.ZodType<B>
  response: z.ZodType<R>
  status?: 200 | 201 | 202 | 204
  /** A POST that creates: honors `Idempotency-Key`. */
  creates?: boolean
  /** What it may be refused with beside what its form makes possible (openapi-answers.ts). */
  refuses?: readonly ErrorCode[]
  /** The field of its answer that is sent as `ETag`; a change passes `ifMatch` on to whoever makes it. */
  versioned?: VersionField
  /** Works long or holds much: few of them run at a time (costly.ts). */
  costly?: boolean
  /** A body, for the OpenAPI document, where one that is made from the schema would be refused. */
  example?: unknown
  /** The media types of a body that `handle` reads from `req` itself, for the OpenAPI document. */
  upload?: string | readonly string[]
  handle: (input: Input<P, Q, B>) => Promise<NoInfer<R>>
}

export interface Route {
  method: RouteSpec<unknown, unknown, unknown, unknown>['method']
  path: string
  summary: string
  permission: Needed
  scope: RouteScope
  status: number
  creates: boolean
  refuses: readonly ErrorCode[]
  versioned?: VersionField
  costly: boolean
  example?: unknown
  stepUp?: StepUp
  upload?: string | readonly string[]
  /** What an answer that is streamed looks like, by media type; without it an answer is JSON. */
  answers?: Readonly<Record<string, z.ZodType>>
  schemas: { params?: z.ZodType; query?: z.ZodType; body?: z.ZodType; response: z.ZodType }
  handler: (ctx: Context) => RequestHandler
}

/** Parses what comes in, checks who asks, and hands plain values to `handle`. Express stops here. */
export function route<R, P = undefined, Q = undefined, B = undefined>(
  spec: RouteSpec<P, Q, B, R>,
): Route {
  const { method, path, summary, permission, scope, status = 200, creates = false } = spec
  const { versioned } = spec
  return {
    method,
    path,
    summary,
    permission,
    scope,
    status,
    creates,
    refuses: spec.refuses ?? [],
    ...(versioned === undefined ? {} : { versioned }),
    costly: spec.costly ?? false,
    ...(spec.example === undefined ? {} : { example: spec.example }),
    ...(spec.stepUp === undefined ? {} : { stepUp: spec.stepUp }),
    ...(spec.upload === undefined ? {} : { upload: spec.upload }),
    schemas: {
      ...(spec.params ? { params: spec.params } : {}),
      ...(spec.query ? { query: spec.query } : {}),
      ...(spec.body ? { body: spec.body } : {}),
      response: spec.response,
    },
    handler: (ctx) => async (req, res) => {
      const actor = allowedActor(req, spec, ctx)
      const params = parse(spec.params, req.params, 'path')
      const query = parse(spec.query, req.query, 'query')
      const body = parse(spec.body, req.body, 'body')
      const reach = allowedReach(actor, spec, body, ctx)
      assertStepUp(actor, { stepUp: spec.stepUp, body, now: ctx.clock.now() })
      const id = creates ? await reserveId(ctx, req, actor, body) : newId(ctx.clock.now())
      const ifMatch = versioned && wantedVersions(req.get('if-match'))
      const given = { params, query, body, newId: id, ifMatch }
      const result = await spec.handle({ ctx, actor, reach, req, ...given })
      if (versioned) sendVersion(res, result, versioned)
      if (status === 204) res.status(204).end()
      else res.status(status).json(result)
    },
  }
}

export function parse<T>(schema: z.ZodType<T> | undefined, value: unknown, place: string): T {
  // A route without a schema for this part declares it as undefined; what was sent there is ignored.
  if (!schema) return undefined as T
  checkPlain(value, place)
  const parsed = schema.safeParse(value ?? {})
  if (parsed.success) return parsed.data
  throw new DomainError(
    'invalid-request',
    `The ${place} is not valid: ${z.prettifyError(parsed.error).slice(0, 1000)}`,
    {
      issues: parsed.error.issues
        .slice(0, 20)
        .map((issue) => ({ at: issue.path.join('.'), message: issue.message })),
    },
  )
}
