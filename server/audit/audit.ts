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

/** Several rows in one statement, for work that is done in groups. */
export async function recordAudits(tx: Tx, entries: readonly AuditEntry[]): Promise<void> {
  if (entries.length === 0) return
  await tx
    .insertInto('audit_event')
    .values(
      entries.map(({ facts, requestId, ...entry }) => ({
        ...entry,
        facts: JSON.stringify(facts),
        request_id: requestId ?? null,
      })),
    )
    .execute()
}
