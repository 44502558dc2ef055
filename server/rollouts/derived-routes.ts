import type { Actor } from '../http/access.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { DeriveBody, NoWayBackView, RollbackView } from './derived-wire.ts'
import { retryFailed, rollBack } from './derived.ts'
import { requireRollout } from './reach.ts'
import { listNoWayBack } from './rollback-store.ts'
import { previewRollback } from './rollback-view.ts'
import { viewerOf } from './routes.ts'
import { getRollout } from './store.ts'
import { RolloutParams, RolloutView } from './wire.ts'

const by = (actor: Actor) => ({ actor: actor.id, requestId: actor.requestId })

/** Rollouts that are made of another one. */
export const derivedRolloutRoutes = [
  route({
    method: 'post',
    path: '/rollouts/:rolloutId/retry',
    summary: 'Draft a rollout of the same release for the devices that failed',
    permission: 'rollouts:write',
    scope: 'devices',
    refuses: ['illegal-transition', 'not-ready'],
    status: 201,
    creates: true,
    params: RolloutParams,
    body: DeriveBody,
    response: RolloutView,
    handle: async ({ ctx, reach, params, body, actor, newId }) => {
      await requireRollout(ctx.db, params.rolloutId, reach)
      const command = { id: newId, ...params, ...body, ...by(actor) }
      const rollout = await retryFailed(ctx, command)
      return (await viewerOf(ctx, [rollout]))(rollout)
    },
  }),

  route({
    method: 'get',
    path: '/rollouts/:rolloutId/rollback',
    summary: 'What its devices could be given back, and which cannot and why; writes nothing',
    permission: 'rollouts:read',
    scope: 'devices',
    refuses: ['illegal-transition', 'not-ready'],
    params: RolloutParams,
    response: RollbackView,
    handle: async ({ ctx, reach, params }) => {
      await requireRollout(ctx.db, params.rolloutId, reach)
      return await previewRollback(ctx.db, params.rolloutId, reach)
    },
  }),

  route({
    method: 'get',
    path: '/rollouts/:rolloutId/rollback/devices',
    summary: 'The devices that cannot be given back what they had, by their ids',
    permission: 'rollouts:read',
    scope: 'devices',
    refuses: ['illegal-transition', 'not-ready'],
    costly: true,
    params: RolloutParams,
    query: PageQuery,
    response: Page(NoWayBackView),
    handle: async ({ ctx, reach, params: { rolloutId }, query: { limit, cursor } }) => {
      await requireRollout(ctx.db, rolloutId, reach)
      await getRollout(ctx.db, rolloutId)
      const page = { after: cursor, limit: limit + 1 }
      const rows = await listNoWayBack(ctx.db, { rolloutId, reach }, page)
      const view = (row: (typeof rows)[number]) => ({
        deviceId: row.device_id,
        reason: row.reason,
        releaseId: row.release_id,
      })
      return pageOf(rows, limit, view, (row) => row.device_id)
    },
  }),

  route({
    method: 'post',
    path: '/rollouts/:rolloutId/rollback',
    summary: 'Draft a rollout that gives its devices back what they had before it',
    permission: 'rollouts:write',
    scope: 'devices',
    refuses: ['illegal-transition', 'not-ready'],
    status: 201,
    creates: true,
    params: RolloutParams,
    body: DeriveBody,
    response: RolloutView,
    handle: async ({ ctx, reach, params, body, actor, newId }) => {
      await requireRollout(ctx.db, params.rolloutId, reach)
      const command = { id: newId, ...params, ...body, ...by(actor) }
      const rollout = await rollBack(ctx, command)
      return (await viewerOf(ctx, [rollout]))(rollout)
    },
  }),
]
