import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import express from 'express'

import { mountRoutes } from '../../server/http/mount.ts'
import { renderProblem } from '../../server/http/problem.ts'
import type { Route } from '../../server/http/route.ts'
import type { BuiltInRole } from '../../server/protocol/permissions.ts'
import { actorWith } from './actor.ts'
import type { RolloutWorld } from './rollout-world.ts'

/** Routes over plain HTTP, called by whoever `caller` says. */
export async function serveRoutes(world: RolloutWorld, routes: Route[]) {
  const caller = { id: 'key:1', name: 'Ada', role: 'operator' as BuiltInRole, requestId: 'r1' }
  const app = express()
  app.use((_req, res, next) => {
    const { role, ...who } = caller
    res.locals['actor'] = actorWith(role, who)
    next()
  })
  mountRoutes(app, world.ctx, { prefix: '', routes })
  app.use(renderProblem)
  const server = createServer(app)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    caller,
    call: async (method: string, path: string, body?: unknown) => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        method,
        headers: { 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      // oxlint-disable-next-line typescript/no-explicit-any -- what a script would see
      return { status: response.status, body: (await response.json()) as any }
    },
    [Symbol.dispose]: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}
