import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import express from 'express'

import type { Context } from '../../server/context.ts'
import type { Actor } from '../../server/http/access.ts'
import { mountRoutes } from '../../server/http/mount.ts'
import { renderProblem } from '../../server/http/problem.ts'
import type { Route } from '../../server/http/route.ts'
import { permissions } from '../../server/protocol/permissions.ts'
import type { Reach } from '../../server/protocol/reach.ts'

/** Somebody who may do everything, within this reach. */
export function actorWithin(reach: Reach, id = 'key:1'): Actor {
  const lists = reach === 'fleet' ? [[]] : reach
  return {
    id,
    voice: id,
    name: 'Ada',
    requestId: 'r1',
    grants: lists.map((groups) => ({ role: 'own', permissions: new Set(permissions), groups })),
  }
}

export interface Answer {
  status: number
  /** Parsed JSON; empty when there is none. */
  // oxlint-disable-next-line typescript/no-explicit-any -- what a script would see
  body: any
  text: string
}

export type Call = (method: string, path: string, body?: unknown) => Promise<Answer>

/** Routes over plain HTTP, called by whoever is limited to `reach`. */
export async function serveScoped(ctx: Context, routes: Route[]) {
  let actor = actorWithin('fleet')
  const app = express()
  app.use((_req, res, next) => {
    res.locals['actor'] = actor
    next()
  })
  mountRoutes(app, ctx, { prefix: '', routes })
  app.use(renderProblem)
  const server = createServer(app)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    /** One call at a time: who calls is the same for all. */
    as:
      (reach: Reach): Call =>
      async (method, path, body) => {
        actor = actorWithin(reach)
        const response = await fetch(`http://127.0.0.1:${port}${path}`, {
          method,
          headers: { 'content-type': typeof body === 'string' ? 'text/csv' : 'application/json' },
          ...(body === undefined
            ? {}
            : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
        })
        const text = await response.text()
        return { status: response.status, text, body: text.startsWith('{') ? JSON.parse(text) : {} }
      },
    [Symbol.dispose]: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Out of its reach, a thing answers what one answers that does not exist: the same words, for its own id. */
export async function answersAlike(
  call: Call,
  method: string,
  path: (id: string) => string,
  ids: { outside: string; missing: string; body?: unknown },
): Promise<Answer> {
  const [outside, missing] = [
    await call(method, path(ids.outside), ids.body),
    await call(method, path(ids.missing), ids.body),
  ]
  const same = (answer: Answer, id: string) =>
    `${answer.status} ${answer.text.replaceAll(id, 'ID').replaceAll(/"requestId":"[^"]*"/g, '')}`
  if (same(outside, ids.outside) !== same(missing, ids.missing)) {
    throw new Error(`${method} ${path('ID')} tells them apart:\n${outside.text}\n${missing.text}`)
  }
  return outside
}
