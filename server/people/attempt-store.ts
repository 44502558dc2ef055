import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { OidcAttemptTable } from '../db/schema.ts'

export type Attempt = Selectable<OidcAttemptTable>

/** Stores a sign-in that is under way, unless there are `most` already. Returns whether it was stored. */
export async function insertAttempt(tx: Tx, row: Attempt, most: number): Promise<boolean> {
  const { rows } = await sql`
    insert into oidc_attempt (state_hash, browser_hash, session_id, return_to, created_at, expires_at)
    select ${row.state_hash}, ${row.browser_hash}, ${row.session_id}::uuid, ${row.return_to}, ${row.created_at}, ${row.expires_at}
    where (select count(*) from (select 1 from oidc_attempt limit ${most}) as present) < ${most}
    returning 1`.execute(tx)
  return rows.length === 1
}

/** Takes a sign-in out, so that it is completed once; undefined for a state that this browser did not begin. */
export async function takeAttempt(
  tx: Tx,
  which: { stateHash: Buffer; browserHash: Buffer },
): Promise<Attempt | undefined> {
  return await tx
    .deleteFrom('oidc_attempt')
    .where('state_hash', '=', which.stateHash)
    .where('browser_hash', '=', which.browserHash)
    .returningAll()
    .executeTakeFirst()
}

/** Removes what was begun and is too old by now, at most `limit`. Returns how many. */
export async function forgetAttemptRows(tx: Tx, before: Date, limit: number): Promise<number> {
  const { rows } = await sql`delete from oidc_attempt where state_hash in (
    select state_hash from oidc_attempt where expires_at < ${before} order by expires_at limit ${limit}
  ) returning 1`.execute(tx)
  return rows.length
}

/** Ids of groups by name. */
export async function groupIdsNamed(
  db: Db,
  names: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  if (names.length === 0) return new Map()
  const rows = await db
    .selectFrom('device_group')
    .select(['id', 'name'])
    .where('name', '=', sql<string>`any(${[...names]}::text[])`)
    .execute()
  return new Map(rows.map(({ id, name }) => [name, id]))
}
