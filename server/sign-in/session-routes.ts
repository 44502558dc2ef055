import { z } from 'zod'

import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { sessionView } from '../people/routes.ts'
import { endSessionsOf } from '../people/service.ts'
import { SessionView } from '../people/wire.ts'
import { OwnSessionParams } from './self-wire.ts'
import { openSessionsOf } from './session-store.ts'
import { signed } from './session.ts'

/** Where somebody is signed in: what they may look at and end themselves. */
export const selfSessionRoutes = [
  route({
    method: 'get',
    path: '/self/sessions',
    summary: 'Where the caller is signed in, newest first',
    permission: 'self:read',
    scope: 'shared',
    refuses: ['not-ready'],
    query: PageQuery,
    response: Page(SessionView),
    handle: async ({ ctx, actor, query: { cursor, limit } }) => {
      const now = ctx.clock.now()
      const idleSince = new Date(now.getTime() - ctx.config.session.idleMs)
      const page = { now, idleSince, before: cursor, limit: limit + 1 }
      const rows = await openSessionsOf(ctx.db, signed(actor).personId, page)
      return pageOf(rows, limit, sessionView, ({ id }) => id)
    },
  }),

  route({
    method: 'delete',
    path: '/self/sessions',
    summary: 'End all other sessions of the caller',
    permission: 'self:write',
    scope: 'shared',
    refuses: ['not-ready'],
    status: 204,
    response: z.undefined(),
    handle: async ({ ctx, actor }) => {
      const { personId, sessionId } = signed(actor)
      await endSessionsOf(ctx, { personId, exceptId: sessionId, by: actor })
      return undefined
    },
  }),

  route({
    method: 'delete',
    path: '/self/sessions/:sessionId',
    summary: 'End one session of the caller',
    permission: 'self:write',
    scope: 'shared',
    refuses: ['not-ready'],
    status: 204,
    params: OwnSessionParams,
    response: z.undefined(),
    handle: async ({ ctx, actor, params: { sessionId } }) => {
      await endSessionsOf(ctx, { personId: signed(actor).personId, sessionId, by: actor })
      return undefined
    },
  }),
]
