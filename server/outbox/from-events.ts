import type { OutboxEvent } from './outbox.ts'

/** A security event as others are told of it. */
export interface Raised {
  id: string
  source: 'server' | 'device'
  kind: string
  severity: 'info' | 'warning' | 'critical'
  deviceId?: string | undefined
  facts: Record<string, unknown>
}

/** What others are told of security events: each, and an ending certificate under a name of its own too. */
export function eventsOfSecurity(at: Date, raised: readonly Raised[]): OutboxEvent[] {
  return raised.flatMap((event): OutboxEvent[] => {
    const { id: eventId, deviceId, ...data } = event
    const told = { at, deviceId, subject: eventId }
    return [
      { type: 'security-event.raised', ...told, data: { eventId, ...data } },
      ...expiring(at, event),
    ]
  })
}

function expiring(at: Date, { kind, deviceId, facts }: Raised): OutboxEvent[] {
  const { certificateId, notAfter } = facts
  if (kind !== 'certificate-not-renewed') return []
  if (typeof certificateId !== 'string' || typeof notAfter !== 'string') return []
  const data = { certificateId, notAfter }
  return [{ type: 'certificate.expiring', at, deviceId, subject: certificateId, data }]
}
