import { z } from 'zod'

import { type Actor, route } from '../http/route.ts'
import type { Poller } from './device-store.ts'
import type { Shown } from './present.ts'
import type { Line, Product } from './product-store.ts'
import {
  getLine,
  getProduct,
  lookAtPoller,
  removeLine,
  setController,
  setLine,
  setProduct,
} from './service.ts'
import {
  ControllerBody,
  ControllerParams,
  DdiDeviceView,
  LineBody,
  LineParams,
  LineView,
  ModelParams,
  ProductBody,
  ProductView,
} from './wire.ts'

const by = (actor: Actor) => ({ actor: actor.id, requestId: actor.requestId })

export const ddiRoutes = [
  route({
    method: 'get',
    path: '/models/:model/ddi',
    summary: 'How devices of a model poll (hawkBit DDI)',
    allow: ['admin', 'operator', 'viewer'],
    params: ModelParams,
    response: ProductView,
    handle: async ({ ctx, params }) => productView(await getProduct(ctx, params.model)),
  }),

  route({
    method: 'put',
    path: '/models/:model/ddi',
    summary:
      'Let devices of a model poll (hawkBit DDI): by which client, and what proves an update',
    allow: ['admin', 'operator'],
    params: ModelParams,
    body: ProductBody,
    response: ProductView,
    handle: async ({ ctx, params, body, actor }) =>
      productView(await setProduct(ctx, { model: params.model, body, ...by(actor) })),
  }),

  route({
    method: 'get',
    path: '/enrollment-profiles/:profileId/ddi',
    summary: 'What the polling devices of an enrollment profile are',
    allow: ['admin', 'operator', 'viewer'],
    params: LineParams,
    response: LineView,
    handle: async ({ ctx, params }) => lineView(await getLine(ctx, params.profileId)),
  }),

  route({
    method: 'put',
    path: '/enrollment-profiles/:profileId/ddi',
    summary:
      'Say what the devices of an enrollment profile are, since a polling device says no hello',
    allow: ['admin', 'operator'],
    params: LineParams,
    body: LineBody,
    response: LineView,
    handle: async ({ ctx, params, body, actor }) =>
      lineView(await setLine(ctx, { profileId: params.profileId, body, ...by(actor) })),
  }),

  route({
    method: 'delete',
    path: '/enrollment-profiles/:profileId/ddi',
    summary: 'New devices of an enrollment profile poll no more',
    allow: ['admin', 'operator'],
    status: 204,
    params: LineParams,
    response: z.undefined(),
    handle: async ({ ctx, params, actor }) => {
      await removeLine(ctx, { profileId: params.profileId, ...by(actor) })
      return undefined
    },
  }),

  route({
    method: 'get',
    path: '/devices/:deviceId/ddi',
    summary: 'What a polling device is shown now, and why; its last words',
    allow: ['admin', 'operator', 'viewer'],
    params: ControllerParams,
    response: DdiDeviceView,
    handle: async ({ ctx, params }) => deviceView(await lookAtPoller(ctx, params.deviceId)),
  }),

  route({
    method: 'put',
    path: '/devices/:deviceId/ddi',
    summary: 'Record what a polling device calls itself, where that is not its id',
    allow: ['admin', 'operator'],
    params: ControllerParams,
    body: ControllerBody,
    response: DdiDeviceView,
    handle: async ({ ctx, params: { deviceId }, body, actor }) => {
      await setController(ctx, { deviceId, ...body, ...by(actor) })
      return deviceView(await lookAtPoller(ctx, deviceId))
    },
  }),
]

function productView(product: Product): ProductView {
  return {
    model: product.model,
    profile: product.profile,
    component: product.component,
    part: product.part,
    versionAttribute: product.version_attribute,
    pollSeconds: product.poll_seconds,
    changedAt: product.changed_at.toISOString(),
  }
}

function lineView(line: Line): LineView {
  return {
    profileId: line.enrollment_profile_id,
    model: line.model,
    hardwareIds: line.hardware_ids,
    changedAt: line.changed_at.toISOString(),
  }
}

function deviceView({ poller, shown }: { poller: Poller; shown: Shown }): DdiDeviceView {
  const { action } = poller
  return {
    deviceId: poller.device_id,
    controllerId: poller.controller_id ?? poller.device_id,
    profile: poller.profile,
    link: shown.link,
    reason: shown.link === 'none' ? shown.reason : null,
    autoConfirmAt: poller.auto_confirm_at?.toISOString() ?? null,
    action: action && {
      id: action.id,
      deploymentId: action.deployment_id,
      startedAt: action.started_at?.toISOString() ?? null,
      claimedAt: action.claimed_at?.toISOString() ?? null,
      messages: action.messages as string[],
    },
  }
}
