import { createHash } from 'node:crypto'

/*
 * The hash chain of the audit log (docs/audit.md): the hash of a row is SHA-256 over the hash of the row before it (32 bytes) and the row as a JSON
 * array, in UTF-8. What is hashed is the text itself, which the export carries as it is: nobody has to write it again to check it.
 */

/** What stands before the first row: 32 zero bytes. */
export const chainStart = Buffer.alloc(32)

/** A row as it is hashed. Instants and JSON are the database's own text, so that nothing is lost on the way. */
export interface ChainRow {
  seq: number
  /** UTC with microseconds. */
  at: string
  actor: string
  action: string
  subject: string
  /** JSON. */
  facts: string
  requestId: string | null
  /** JSON. Absent in rows from before origins were recorded (format 1). */
  origin?: string | null
}

/** The text that is hashed: `[chainNo, seq, at, actor, action, subject, facts, requestId]` and, in format 2, `origin` behind. */
export function chainText(chainNo: number, row: ChainRow): string {
  const { seq, at, actor, action, subject, facts, requestId, origin } = row
  const values = [chainNo, seq, at, actor, action, subject, facts, requestId]
  return JSON.stringify(origin === undefined ? values : [...values, origin])
}

/** @param before the hash of the row before, 32 bytes */
export function chainHash(before: Buffer, text: string): Buffer {
  return createHash('sha256').update(before).update(text).digest()
}
