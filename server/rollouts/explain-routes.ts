import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { ExplainedDeviceParams, ExplanationParams, ExplanationView } from './explain-wire.ts'
import { explainDevice, explainRollout } from './explain.ts'

export const explainRoutes = [
  route({
    method: 'get',
    path: '/rollouts/:rolloutId/devices/:deviceId/explanation',
    summary: 'Why a device does or does not get what a rollout gives out, and what would change it',
    permission: 'rollouts:read',
    scope: 'devices',
    params: ExplanationParams,
    response: ExplanationView,
    handle: async ({ ctx, params }) => await explainRollout(ctx, params.rolloutId, params.deviceId),
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
    handle: async ({ ctx, params, query: { limit, cursor } }) => {
      const page = { before: cursor, limit: limit + 1 }
      const explanations = await explainDevice(ctx, params.deviceId, page)
      return pageOf(
        explanations,
        limit,
        (one) => one,
        (one) => one.rolloutId,
      )
    },
  }),
]
