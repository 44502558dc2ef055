import { sql } from 'kysely'

import type { Tx } from '../db/client.ts'

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
}

/** Takes a transaction, so nothing is recorded that did not happen and nothing happens unrecorded. */
export async function recordAudit(tx: Tx, entry: AuditEntry): Promise<void> {
  await recordAudits(tx, [entry])
}

/** Several rows in one statement, for work that is done in groups: arrays, since a parameter for each value is much slower. */
export async function recordAudits(tx: Tx, entries: readonly AuditEntry[]): Promise<void> {
  if (entries.length === 0) return
  const of = <T>(pick: (entry: AuditEntry) => T) => entries.map(pick)
  await sql`insert into audit_event (at, actor, action, subject, facts, request_id)
    select at, actor, action, subject, facts::jsonb, request_id
    from unnest(${of(({ at }) => at.toISOString())}::timestamptz[], ${of(({ actor }) => actor)}::text[],
      ${of(({ action }) => action)}::text[], ${of(({ subject }) => subject)}::text[],
      ${of(({ facts }) => JSON.stringify(facts))}::text[], ${of(({ requestId }) => requestId ?? null)}::text[])
    with ordinality as entry (at, actor, action, subject, facts, request_id, place) order by place`.execute(
    tx,
  )
}
