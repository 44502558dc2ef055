import type { OutboxEvent } from './outbox.ts'

/** The part of an audit row that others are told of. */
export interface Recorded {
  at: Date
  action: string
  subject: string
  facts: Record<string, unknown>
}

/**
 * What others are told of what was recorded: changes are told by their audit rows, so that none is forgotten. Most rows are nothing for others.
 */
export function eventsOfAudit(entries: readonly Recorded[]): OutboxEvent[] {
  return entries.flatMap((entry) => eventsOf(entry))
}

function eventsOf({ at, action, subject, facts }: Recorded): OutboxEvent[] {
  const [noun = ''] = action.split('.')
  const reason = text(facts['reason'])
  const from = text(facts['from'])
  const to = text(facts['to'])
  const change = from !== null && to !== null && from !== to ? { from, to, reason } : undefined
  switch (action) {
    case 'device.register':
      return [ofDevice(at, 'device.registered', subject, named(facts))]
    case 'group.disable':
    case 'group.enable': {
      const data = { action: action === 'group.disable' ? 'disable' : 'enable', reason } as const
      return [{ type: 'group.state-changed', at, subject, data }]
    }
    case 'approval.ask': {
      const kind = text(facts['kind'])
      const expiresAt = text(facts['expiresAt'])
      if (kind === null || expiresAt === null) return []
      return [
        {
          type: 'approval.needed',
          at,
          subject,
          data: { approvalId: subject, action: kind, expiresAt },
        },
      ]
    }
    case 'certificate.issue':
      return issued(at, subject, facts)
    case 'release.publish': {
      const { model, metadataVersion: version } = facts
      if (typeof model !== 'string' || typeof version !== 'number') return []
      const data = { releaseId: subject, model, metadataVersion: version }
      return [{ type: 'release.published', at, subject, data }]
    }
    case 'release.withdraw':
      return [{ type: 'release.withdrawn', at, subject, data: { releaseId: subject } }]
    default:
      return change ? changed(noun, { at, action, subject, facts }, change) : []
  }
}

interface Change {
  from: string
  to: string
  reason: string | null
}

function changed(
  noun: string,
  { at, action, subject, facts }: Recorded,
  change: Change,
): OutboxEvent[] {
  const deviceId = text(facts['deviceId']) ?? undefined
  switch (noun) {
    case 'device':
      return [ofDevice(at, 'device.state-changed', subject, change)]
    case 'certificate': {
      const data = { certificateId: subject, ...change }
      return [{ type: 'certificate.state-changed', at, deviceId, subject, data }]
    }
    case 'rollout': {
      const word = action.slice('rollout.'.length)
      const data = { rolloutId: subject, action: word, ...change }
      return [{ type: 'rollout.state-changed', at, subject, data }]
    }
    default:
      return []
  }
}

function ofDevice<T extends 'device.registered' | 'device.state-changed'>(
  at: Date,
  type: T,
  deviceId: string,
  data: Extract<OutboxEvent, { type: T }>['data'],
) {
  return { type, at, deviceId, subject: deviceId, data } as OutboxEvent
}

function named({ serialNumber, name }: Record<string, unknown>) {
  return { serialNumber: text(serialNumber) ?? '', name: text(name) ?? '' }
}

/** Of devices; the server's own certificates concern nobody else. */
function issued(at: Date, subject: string, facts: Record<string, unknown>): OutboxEvent[] {
  const deviceId = text(facts['deviceId'])
  const notAfter = text(facts['notAfter'])
  if (deviceId === null || notAfter === null) return []
  const fingerprint = text(facts['fingerprint']) ?? ''
  const kind = text(facts['kind']) ?? ''
  const data = { certificateId: subject, fingerprint, notAfter, kind }
  const certificateSubject = text(facts['subject']) ?? ''
  const enrolled = { certificateId: subject, certificateSubject }
  return [
    ...(kind === 'enroll'
      ? [{ type: 'device.enrolled' as const, at, deviceId, subject: deviceId, data: enrolled }]
      : []),
    { type: 'certificate.issued', at, deviceId, subject, data },
  ]
}

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}
