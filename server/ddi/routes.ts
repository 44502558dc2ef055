import { z } from 'zod'

import { requireDevice } from '../devices/reach.ts'
import { requireProfile } from '../enrollment/reach.ts'
import type { Actor } from '../http/access.ts'
import { route } from '../http/route.ts'
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
import { createToken, removeToken } from './token-service.ts'
import type { Token } from './token-store.ts'
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
  TokenBody,
  TokenView,
} from './wire.ts'

const by = (actor: Actor) => ({ actor: actor.id, requestId: actor.requestId })

export const ddiRoutes = [
  route({
    method: 'get',
    path: '/models/:model/ddi',
    summary: 'How devices of a model poll (hawkBit DDI)',
    permission: 'models:read',
    scope: 'shared',
    params: ModelParams,
    response: ProductView,
    handle: async ({ ctx, params }) => productView(await getProduct(ctx, params.model)),
  }),

  route({
    method: 'put',
    path: '/models/:model/ddi',
    summary:
      'Let devices of a model poll (hawkBit DDI): by which client, and what proves an update',
    permission: 'models:write',
    scope: 'fleet',
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
    permission: 'enrollment:read',
    scope: 'devices',
    params: LineParams,
    response: LineView,
    handle: async ({ ctx, reach, params: { profileId } }) => {
      await requireProfile(ctx.db, profileId, reach)
      return lineView(await getLine(ctx, profileId))
    },
  }),

  route({
    method: 'put',
    path: '/enrollment-profiles/:profileId/ddi',
    summary:
      'Say what the devices of an enrollment profile are, since a polling device says no hello',
    permission: 'enrollment:write',
    scope: 'devices',
    params: LineParams,
    body: LineBody,
    response: LineView,
    handle: async ({ ctx, reach, params: { profileId }, body, actor }) => {
      await requireProfile(ctx.db, profileId, reach)
      return lineView(await setLine(ctx, { profileId, body, ...by(actor) }))
    },
  }),

  route({
    method: 'delete',
    path: '/enrollment-profiles/:profileId/ddi',
    summary: 'New devices of an enrollment profile poll no more',
    permission: 'enrollment:write',
    scope: 'devices',
    status: 204,
    params: LineParams,
    response: z.undefined(),
    handle: async ({ ctx, reach, params: { profileId }, actor }) => {
      await requireProfile(ctx.db, profileId, reach)
      await removeLine(ctx, { profileId, ...by(actor) })
      return undefined
    },
  }),

  route({
    method: 'get',
    path: '/devices/:deviceId/ddi',
    summary: 'What a polling device is shown now, and why; its last words',
    permission: 'devices:read',
    scope: 'devices',
    params: ControllerParams,
    response: DdiDeviceView,
    handle: async ({ ctx, reach, params: { deviceId } }) => {
      await requireDevice(ctx.db, deviceId, reach)
      return deviceView(await lookAtPoller(ctx, deviceId))
    },
  }),

  route({
    method: 'put',
    path: '/devices/:deviceId/ddi',
    summary: 'Record what a polling device calls itself, where that is not its id',
    permission: 'devices:write',
    scope: 'devices',
    params: ControllerParams,
    body: ControllerBody,
    response: DdiDeviceView,
    handle: async ({ ctx, reach, params: { deviceId }, body, actor }) => {
      await requireDevice(ctx.db, deviceId, reach)
      await setController(ctx, { deviceId, ...body, reach, ...by(actor) })
      // Every process forgets what it answers this device by its old name.
      await ctx.bus.publish('wake', [deviceId])
      return deviceView(await lookAtPoller(ctx, deviceId))
    },
  }),

  route({
    method: 'post',
    path: '/devices/:deviceId/ddi/token',
    summary: 'Let a device that cannot show a certificate poll with a token: a weakness',
    permission: 'devices:credentials',
    scope: 'devices',
    refuses: ['not-ready', 'quota-exhausted'],
    params: ControllerParams,
    body: TokenBody,
    response: TokenView,
    handle: async ({ ctx, reach, params: { deviceId }, body, actor }) => {
      await requireDevice(ctx.db, deviceId, reach)
      return { deviceId, token: await createToken(ctx, { deviceId, body, ...by(actor) }) }
    },
  }),

  route({
    method: 'delete',
    path: '/devices/:deviceId/ddi/token',
    summary: 'The token of a device counts no more',
    permission: 'devices:write',
    scope: 'devices',
    status: 204,
    params: ControllerParams,
    response: z.undefined(),
    handle: async ({ ctx, reach, params: { deviceId }, actor }) => {
      await requireDevice(ctx.db, deviceId, reach)
      await removeToken(ctx, { deviceId, ...by(actor) })
      return undefined
    },
  }),
]

function tokenView(token: Token): NonNullable<DdiDeviceView['targetToken']> {
  return {
    createdAt: token.created_at.toISOString(),
    createdBy: token.created_by,
    lastUsedAt: token.last_used_at?.toISOString() ?? null,
    despiteCertificate: token.despite_certificate,
  }
}

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

interface Looked {
  poller: Poller
  shown: Shown
  token: Token | undefined
}

function deviceView({ poller, shown, token }: Looked): DdiDeviceView {
  const { action } = poller
  return {
    deviceId: poller.device_id,
    controllerId: poller.controller_id ?? poller.device_id,
    profile: poller.profile,
    link: shown.link,
    reason: shown.link === 'none' ? shown.reason : null,
    targetToken: token ? tokenView(token) : null,
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
