import { sql } from 'kysely'

import type { Tx } from '../db/client.ts'
import { storable } from '../db/storable.ts'
import { eventsOfAudit } from '../outbox/from-audit.ts'
import { enqueueAll } from '../outbox/outbox.ts'
import { originOf, type RequestOrigin } from '../request-origin.ts'

export interface AuditEntry {
  at: Date
  /** `key:<api key id>`, `device:<id>`, `token:<id>`, or `system`. */
  actor: string
  /** `noun.verb`, e.g. `device.revoke`. */
  action: string
  /** The id of what was changed. */
  subject: string
  /** Before and after, reasons; never a secret. */
  facts: Record<string, unknown>
  requestId?: string
  /** Where it came from; of the request with `requestId` when that is being handled now. */
  origin?: RequestOrigin | undefined
}

/** What an actor has shown, when the request does not say. */
const credentials: Readonly<Record<string, string>> = {
  key: 'api-key',
  user: 'session',
  workload: 'workload-token',
  certificate: 'client-certificate',
  device: 'device-certificate',
  token: 'enrollment-token',
}

function originText({ actor, requestId, origin = originOf(requestId) }: AuditEntry): string | null {
  if (!origin) return null
  const { address, credential = credentials[actor.split(':', 1)[0] ?? ''], userAgent } = origin
  const texts = Object.entries({ address, credential, userAgent }).flatMap(([name, text]) =>
    text === undefined ? [] : [[name, storable(text)] as const],
  )
  return JSON.stringify(Object.fromEntries(texts))
}

/**
 * Takes a transaction, so nothing is recorded that did not happen and nothing happens unrecorded. Others are told of it where it is something for
 * them (outbox/from-audit.ts).
 */
export async function recordAudit(tx: Tx, entry: AuditEntry): Promise<void> {
  await recordAudits(tx, [entry])
}

/** Several rows in one statement, for work that is done in groups: arrays, since a parameter for each value is much slower. */
export async function recordAudits(tx: Tx, entries: readonly AuditEntry[]): Promise<void> {
  if (entries.length === 0) return
  const of = <T>(pick: (entry: AuditEntry) => T) => entries.map(pick)
  await sql`insert into audit_event (at, actor, action, subject, facts, request_id, origin)
    select at, actor, action, subject, facts::jsonb, request_id, origin::jsonb
    from unnest(${of(({ at }) => at.toISOString())}::timestamptz[], ${of(({ actor }) => actor)}::text[],
      ${of(({ action }) => action)}::text[], ${of(({ subject }) => subject)}::text[],
      ${of(({ facts }) => JSON.stringify(facts))}::text[], ${of(({ requestId }) => requestId ?? null)}::text[],
      ${of(originText)}::text[])
    with ordinality as entry (at, actor, action, subject, facts, request_id, origin, place) order by place`.execute(
    tx,
  )
  await enqueueAll(tx, eventsOfAudit(entries))
}
