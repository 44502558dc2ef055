import { requireDevice } from '../devices/reach.ts'
import { route } from '../http/route.ts'
import { LiftBody, PenaltyParams, PenaltyView } from './penalty-wire.ts'
import { liftPenalty, penaltyView } from './penalty.ts'

export const penaltyRoutes = [
  route({
    method: 'get',
    path: '/devices/:deviceId/penalty',
    summary: 'Until when a device that failed is offered nothing new, and what never again',
    permission: 'deployments:read',
    scope: 'devices',
    params: PenaltyParams,
    response: PenaltyView,
    handle: async ({ ctx, reach, params }) => {
      await requireDevice(ctx.db, params.deviceId, reach)
      return await penaltyView(ctx, params.deviceId)
    },
  }),

  route({
    method: 'post',
    path: '/devices/:deviceId/penalty/actions',
    summary: 'Lift it: the device is offered again what it may have, at once',
    permission: 'rollouts:control',
    scope: 'devices',
    params: PenaltyParams,
    body: LiftBody,
    response: PenaltyView,
    handle: async ({ ctx, reach, params, body, actor }) => {
      await requireDevice(ctx.db, params.deviceId, reach)
      const { reason, rolledBack } = body
      const by = { actor: actor.id, requestId: actor.requestId }
      return await liftPenalty(ctx, { deviceId: params.deviceId, reason, rolledBack, ...by })
    },
  }),
]
