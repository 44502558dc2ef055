import { sql } from 'kysely'

import type { Tx } from './db/client.ts'
import { DomainError } from './errors.ts'

/** Versions of a thing, any of which is fine. Empty: none is. */
export type Versions = readonly string[]

/**
 * Whether a thing is what its caller believes it to be. Whoever asks has locked the row.
 *
 * @throws DomainError `precondition-failed`
 */
export function assertVersion(present: string | undefined, wanted: Versions | undefined): void {
  if (wanted === undefined || (present !== undefined && wanted.includes(present))) return
  throw new DomainError(
    'precondition-failed',
    'It is not the version that If-Match names: read it again, and look at what changed',
    { version: present ?? null },
  )
}

interface Row {
  table:
    | 'device_group'
    | 'model'
    | 'maintenance_window'
    | 'blackout_calendar'
    | 'enrollment_profile'
  id: string
}

/**
 * Begins a change that depends on what was read: nobody else changes the row until the end of the transaction, and it is what its caller believes it to be. Does
 * nothing for callers who did not say.
 *
 * @throws DomainError `precondition-failed`
 */
export async function lockVersion(
  tx: Tx,
  { table, id }: Row,
  wanted: Versions | undefined,
): Promise<void> {
  if (wanted === undefined) return
  const { rows } = await sql<{ version: number }>`
    select version from ${sql.table(table)} where id = ${id}::uuid for update`.execute(tx)
  const [row] = rows
  // That it is gone is what the change itself says.
  if (row) assertVersion(String(row.version), wanted)
}
