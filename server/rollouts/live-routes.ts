import { assertSameOrigin } from '../http/origin.ts'
import { streamRoute } from '../http/stream-route.ts'
import { type LiveLimits, LiveRollouts } from './live.ts'
import { requireRollout } from './reach.ts'
import { RolloutParams, RolloutView } from './wire.ts'

export function liveRoutes(limits: Partial<LiveLimits> = {}) {
  return [
    streamRoute({
      path: '/rollouts/:rolloutId/events',
      summary:
        'Watch one rollout: `snapshot`, then `change` at most once a second, each with the whole view; `end` says why no more comes',
      permission: 'rollouts:read',
      scope: 'devices',
      params: RolloutParams,
      answers: { 'text/event-stream': RolloutView },
      shared: (ctx) => new LiveRollouts(ctx, limits),
      handle: async ({ ctx, req, res, params: { rolloutId }, actor, reach, shared }) => {
        assertSameOrigin(req, ctx.config)
        await requireRollout(ctx.db, rolloutId, reach)
        const seen = req.get('last-event-id')?.slice(0, 64)
        if (req.method === 'HEAD') return void res.type('text/event-stream').end()
        const permission = 'rollouts:read'
        await shared.watch({ rolloutId, actor: actor.id, permission, reach, seen, res })
      },
    }),
  ]
}

export const liveRolloutRoutes = liveRoutes()
