import { z } from 'zod'

import { type EventType, eventTypes } from '../outbox/wire.ts'
import { deliveryStates, disabledReasons, endpointStates } from './state.ts'

const id = z.uuid().lowercase()
const instant = z.iso.datetime().max(40)
const type = z.enum(eventTypes as [EventType, ...EventType[]])

const fields = {
  /** https, without credentials; other addresses of a private network only where the server allows them. */
  url: z.string().min(1).max(500),
  description: z.string().trim().max(200),
  types: z
    .array(type)
    .min(1)
    .max(64)
    .transform((types) => [...new Set(types)].toSorted()),
  /** Only events of devices that are members of all of these groups. Empty: everything. */
  groupIds: z.array(id).max(20),
}

export const EndpointParams = z.object({ endpointId: id })
export const DeliveryParams = z.object({ endpointId: id, deliveryId: id })

export const NewEndpointBody = z.strictObject({
  ...fields,
  description: fields.description.default(''),
  groupIds: fields.groupIds.default([]),
})

export const EndpointPatch = z
  .strictObject({
    url: fields.url.optional(),
    description: fields.description.optional(),
    types: fields.types.optional(),
    groupIds: fields.groupIds.optional(),
  })
  .refine((patch) => Object.keys(patch).length > 0, 'say what to change')

export const endpointActions = ['enable', 'disable', 'test', 'rotate-secret'] as const
export const EndpointActionBody = z.strictObject({
  action: z.enum(endpointActions),
  /** With `rotate-secret`: how long the secret before signs too. */
  overlapHours: z.int().min(0).max(168).optional(),
})

export const EndpointView = z.object({
  id,
  url: z.string(),
  description: z.string(),
  types: z.array(z.string()),
  groupIds: z.array(id),
  state: z.enum(endpointStates),
  disabledBecause: z.enum(disabledReasons).nullable(),
  /** Nothing was taken since then. */
  failingSince: instant.nullable(),
  retryAt: instant.nullable(),
  /** What waits to be delivered; counted up to the most there can be. */
  waiting: z.int(),
  deadLetters: z.int(),
  /** Events that found the backlog full and of which the receiver was not told yet. */
  missed: z.int(),
  /** The secret before signs too until then. */
  previousUntil: instant.nullable(),
  createdBy: z.string(),
  createdAt: instant,
  changedAt: instant,
  /** For `If-Match`: another one after each change of what people write in it. */
  version: z.int(),
})
export type EndpointView = z.infer<typeof EndpointView>

/** `secret` is in this answer and nowhere else: at creation, and after `rotate-secret`. */
export const EndpointSecretView = EndpointView.extend({ secret: z.string().nullable() })
export type EndpointSecretView = z.infer<typeof EndpointSecretView>

export const deliveryFilter = { state: z.enum(deliveryStates).optional() }

export const DeliveryView = z.object({
  id,
  eventId: id,
  type: z.string(),
  subject: z.string(),
  deviceId: id.nullable(),
  at: instant,
  state: z.enum(deliveryStates),
  attempts: z.int(),
  /** The next attempt, while it is pending. */
  dueAt: instant.nullable(),
  lastStatus: z.int().nullable(),
  lastError: z.string().nullable(),
  endedAt: instant.nullable(),
})
export type DeliveryView = z.infer<typeof DeliveryView>

/**
 * What to send again: one event, all dead letters, or what happened in a time (with `until`, up to and without it). An event that is waiting
 * already is not doubled.
 */
export const ReplayBody = z.union([
  z.strictObject({ eventId: id }),
  z.strictObject({ deadLetters: z.literal(true) }),
  z.strictObject({ from: instant, until: instant.optional() }),
])
export type ReplayBody = z.infer<typeof ReplayBody>

export const ReplayView = z.object({ replayed: z.int() })
