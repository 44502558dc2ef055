import { z } from 'zod'

import type { Actor } from '../http/access.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import { type DeliveryRow, listDeliveries } from './delivery-store.ts'
import { actOnEndpoint, changeEndpoint, createEndpoint, removeEndpoint, replay } from './service.ts'
import { type EndpointDetails, getEndpoint, listEndpoints } from './store.ts'
import {
  deliveryFilter,
  DeliveryView,
  EndpointActionBody,
  EndpointParams,
  EndpointPatch,
  EndpointSecretView,
  EndpointView,
  NewEndpointBody,
  ReplayBody,
  ReplayView,
} from './wire.ts'

const by = (actor: Actor) => ({ actor: actor.id, requestId: actor.requestId })

export const webhookRoutes = [
  route({
    method: 'post',
    path: '/webhooks',
    summary: 'Have events sent to an address; its secret is in this answer and nowhere else',
    permission: 'webhooks:manage',
    scope: 'fleet',
    refuses: ['quota-exhausted'],
    status: 201,
    creates: true,
    versioned: 'version',
    body: NewEndpointBody,
    response: EndpointSecretView,
    handle: async ({ ctx, body, actor, newId: id }) => {
      const { endpoint, secret } = await createEndpoint(ctx, { ...body, id }, by(actor))
      return { ...view(endpoint), secret }
    },
  }),

  route({
    method: 'get',
    path: '/webhooks',
    summary: 'Addresses that events are sent to, newest first',
    permission: 'webhooks:read',
    scope: 'fleet',
    query: PageQuery,
    response: Page(EndpointView),
    handle: async ({ ctx, query: { limit, cursor } }) =>
      pageOf(
        await listEndpoints(ctx.db, { before: cursor, limit: limit + 1 }),
        limit,
        view,
        (row) => row.id,
      ),
  }),

  route({
    method: 'get',
    path: '/webhooks/:endpointId',
    summary: 'One address, and what waits for it',
    permission: 'webhooks:read',
    scope: 'fleet',
    versioned: 'version',
    params: EndpointParams,
    response: EndpointView,
    handle: async ({ ctx, params }) => view(await getEndpoint(ctx.db, params.endpointId)),
  }),

  route({
    method: 'patch',
    path: '/webhooks/:endpointId',
    summary: 'Change where events go, or which',
    permission: 'webhooks:manage',
    scope: 'fleet',
    versioned: 'version',
    params: EndpointParams,
    body: EndpointPatch,
    example: { types: ['device.registered'], description: 'The inventory' },
    response: EndpointView,
    handle: async ({ ctx, params, body, actor, ifMatch }) =>
      view(await changeEndpoint(ctx, params.endpointId, body, { ifMatch, ...by(actor) })),
  }),

  route({
    method: 'delete',
    path: '/webhooks/:endpointId',
    summary: 'Send nothing there any more; what waits for it is dropped',
    permission: 'webhooks:manage',
    scope: 'fleet',
    status: 204,
    versioned: 'version',
    params: EndpointParams,
    response: z.undefined(),
    handle: async ({ ctx, params, actor, ifMatch }) => {
      await removeEndpoint(ctx, params.endpointId, { ifMatch, ...by(actor) })
      return undefined
    },
  }),

  route({
    method: 'post',
    path: '/webhooks/:endpointId/actions',
    summary: 'Switch it off or on, send a test, or replace its secret, which is in this answer',
    permission: 'webhooks:manage',
    scope: 'fleet',
    params: EndpointParams,
    body: EndpointActionBody,
    response: EndpointSecretView,
    handle: async ({ ctx, params, body, actor }) => {
      const { endpoint, secret } = await actOnEndpoint(ctx, params.endpointId, body, by(actor))
      return { ...view(endpoint), secret }
    },
  }),

  route({
    method: 'get',
    path: '/webhooks/:endpointId/deliveries',
    summary: 'What was sent to it, waits, or could not be delivered (state "dead"), newest first',
    permission: 'webhooks:read',
    scope: 'fleet',
    params: EndpointParams,
    query: z.strictObject({ ...PageQuery.shape, ...deliveryFilter }),
    response: Page(DeliveryView),
    handle: async ({ ctx, params: { endpointId }, query: { limit, cursor, state } }) => {
      await getEndpoint(ctx.db, endpointId)
      const filter = { endpointId, state, before: cursor, limit: limit + 1 }
      return pageOf(await listDeliveries(ctx.db, filter), limit, deliveryView, (row) =>
        String(row.seq),
      )
    },
  }),

  route({
    method: 'post',
    path: '/webhooks/:endpointId/replays',
    summary: 'Send again: one event, the dead letters, or what happened in a time',
    permission: 'webhooks:manage',
    scope: 'fleet',
    status: 202,
    params: EndpointParams,
    body: ReplayBody,
    response: ReplayView,
    handle: async ({ ctx, params, body, actor }) => ({
      replayed: await replay(ctx, params.endpointId, body, by(actor)),
    }),
  }),
]

function view(row: EndpointDetails): EndpointView {
  return {
    id: row.id,
    url: row.url,
    description: row.description,
    types: row.types,
    groupIds: row.group_ids,
    state: row.state,
    disabledBecause: row.disabled_because,
    failingSince: row.failing_since?.toISOString() ?? null,
    retryAt: row.retry_at?.toISOString() ?? null,
    waiting: row.waiting,
    deadLetters: row.dead,
    missed: row.missed,
    previousUntil: row.previous_until?.toISOString() ?? null,
    createdBy: row.created_by,
    createdAt: row.created_at.toISOString(),
    changedAt: row.changed_at.toISOString(),
    version: row.version,
  }
}

function deliveryView(row: DeliveryRow): DeliveryView {
  return {
    id: row.id,
    eventId: row.event_id,
    type: row.type,
    subject: row.subject,
    deviceId: row.device_id,
    at: row.at.toISOString(),
    state: row.state,
    attempts: row.attempts,
    dueAt: row.state === 'pending' ? row.due_at.toISOString() : null,
    lastStatus: row.last_status,
    lastError: row.last_error,
    endedAt: row.ended_at?.toISOString() ?? null,
  }
}
