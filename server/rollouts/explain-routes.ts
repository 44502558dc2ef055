import { requireDevice } from '../devices/reach.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { ExplainedDeviceParams, ExplanationParams, ExplanationView } from './explain-wire.ts'
import { explainDevice, explainRollout } from './explain.ts'
import { requireRollout } from './reach.ts'

export const explainRoutes = [
  route({
    method: 'get',
    path: '/rollouts/:rolloutId/devices/:deviceId/explanation',
    summary: 'Why a device does or does not get what a rollout gives out, and what would change it',
    permission: 'rollouts:read',
    scope: 'devices',
    params: ExplanationParams,
    response: ExplanationView,
    handle: async ({ ctx, reach, params: { rolloutId, deviceId } }) => {
      await requireDevice(ctx.db, deviceId, reach)
      await requireRollout(ctx.db, rolloutId, reach)
      return await explainRollout(ctx, { rolloutId, deviceId, reach })
    },
  }),

  route({
    method: 'get',
    path: '/devices/:deviceId/explanations',
    summary: 'The same for every rollout that concerns a device, newest first',
    permission: 'deployments:read',
    scope: 'devices',
    params: ExplainedDeviceParams,
    query: PageQuery,
    response: Page(ExplanationView),
    handle: async ({ ctx, reach, params: { deviceId }, query: { limit, cursor } }) => {
      await requireDevice(ctx.db, deviceId, reach)
      const page = { before: cursor, limit: limit + 1 }
      const explanations = await explainDevice(ctx, { deviceId, reach, ...page })
      return pageOf(
        explanations,
        limit,
        (one) => one,
        (one) => one.rolloutId,
      )
    },
  }),
]
