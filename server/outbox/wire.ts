import { z } from 'zod'

import { deploymentStates } from '../protocol/deployment.ts'

const id = z.uuid()
const instant = z.iso.datetime()
const severity = z.enum(['info', 'warning', 'critical'])
const reason = z.string().nullable()
const stateChange = { from: z.string(), to: z.string(), reason }

/**
 * What is told to others, by its type: a closed list. Fields may be added to the data of a type; none is taken away, and none changes its meaning.
 */
export const eventData = {
  'device.registered': z.object({ serialNumber: z.string(), name: z.string() }),
  /** A device has its first certificate, or another one that was not a renewal. */
  'device.enrolled': z.object({ certificateId: id, certificateSubject: z.string() }),
  'device.state-changed': z.object(stateChange),
  /** All devices of a group were cut off, or let in again. */
  'group.state-changed': z.object({ action: z.enum(['disable', 'enable']), reason }),
  'certificate.issued': z.object({
    certificateId: id,
    fingerprint: z.string(),
    notAfter: instant,
    kind: z.string(),
  }),
  /** One certificate was revoked, put on hold or released. What ends with its device is told as `device.state-changed`. */
  'certificate.state-changed': z.object({ certificateId: id, ...stateChange }),
  /** Its device should have asked for the next one by now. */
  'certificate.expiring': z.object({ certificateId: id, notAfter: instant }),
  /** `lost` may still become another end, when the device is heard of again: each is told. */
  'deployment.ended': z.object({
    deploymentId: id,
    rolloutId: id,
    state: z.enum(deploymentStates),
    code: z.string().nullable(),
  }),
  'rollout.state-changed': z.object({ rolloutId: id, action: z.string(), ...stateChange }),
  'release.published': z.object({ releaseId: id, model: z.string(), metadataVersion: z.int() }),
  'release.withdrawn': z.object({ releaseId: id }),
  'security-event.raised': z.object({
    eventId: id,
    source: z.enum(['server', 'device']),
    kind: z.string(),
    severity,
    facts: z.record(z.string(), z.unknown()),
  }),
  'alert.raised': z.object({
    alertId: id,
    rule: z.string(),
    kind: z.string(),
    severity,
    count: z.int(),
    firstAt: instant,
    lastAt: instant,
    again: z.boolean(),
  }),
  /** Somebody else has to agree to something. */
  'approval.needed': z.object({ approvalId: id, action: z.string(), expiresAt: instant }),
  /** A row of the audit log, as `GET /audit` shows it. */
  'audit.recorded': z.object({
    seq: z.int(),
    actor: z.string(),
    action: z.string(),
    facts: z.record(z.string(), z.unknown()),
    requestId: z.string().nullable(),
  }),
  /** Asked for by an operator, to see whether it arrives. */
  'webhook.test': z.object({ sentBy: z.string() }),
  /** So many events of that time found the backlog of this endpoint full: ask for them anew. */
  'webhook.gap': z.object({ missed: z.int(), from: instant, until: instant }),
} as const satisfies Record<string, z.ZodType>

export type EventType = keyof typeof eventData

/** What an endpoint may ask for. The last two go to an endpoint without being asked for. */
export const eventTypes = (Object.keys(eventData) as EventType[]).filter(
  (type) => type !== 'webhook.test' && type !== 'webhook.gap',
)

/** The body of a call of a webhook. `id` is the same in every attempt; `subject` names what it is about. */
export function EventMessage<T extends EventType>(type: T) {
  return z.object({
    type: z.literal(type),
    id,
    timestamp: instant,
    deviceId: id.nullable(),
    subject: z.string(),
    data: eventData[type],
  })
}
