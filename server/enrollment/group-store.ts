import { type Selectable, sql } from 'kysely'

import type { Tx } from '../db/client.ts'
import type { EnrollmentProfileTable, EnrollmentTokenTable } from '../db/schema.ts'
import { hourMs } from './state.ts'

/** Locked in the order of their ids; others that use the same tokens wait. */
export async function lockTokens(
  tx: Tx,
  ids: readonly string[],
): Promise<Map<string, Selectable<EnrollmentTokenTable>>> {
  const rows = await tx
    .selectFrom('enrollment_token')
    .selectAll()
    .where('id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .orderBy('id')
    .forUpdate()
    .execute()
  return new Map(rows.map((row) => [row.id, row]))
}

/** After the tokens, as when one use is taken. Devices that refer to the profile do not wait. */
export async function lockProfiles(
  tx: Tx,
  ids: readonly string[],
): Promise<Map<string, Selectable<EnrollmentProfileTable>>> {
  const rows = await tx
    .selectFrom('enrollment_profile')
    .selectAll()
    .where('id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .orderBy('id')
    .forNoKeyUpdate()
    .execute()
  return new Map(rows.map((row) => [row.id, row]))
}

/** Of rows that the caller has locked, and that have as many left: the table's own checks hold in any case. */
export async function takeManyUses(tx: Tx, taken: ReadonlyMap<string, number>): Promise<void> {
  await sql`update enrollment_token set uses = uses + one.taken
    from unnest(${[...taken.keys()]}::uuid[], ${[...taken.values()]}::int[]) as one (id, taken)
    where enrollment_token.id = one.id`.execute(tx)
}

/** Like `takeManyUses`; of the hour too, as `takeQuota` does. */
export async function takeManyQuotas(
  tx: Tx,
  taken: ReadonlyMap<string, number>,
  now: Date,
): Promise<void> {
  const hourAgo = new Date(now.getTime() - hourMs)
  const isOver = sql`(hour_began_at is null or hour_began_at <= ${hourAgo}::timestamptz)`
  await sql`update enrollment_profile set used = used + one.taken,
      hour_used = case when ${isOver} then one.taken else hour_used + one.taken end,
      hour_began_at = case when ${isOver} then ${now}::timestamptz else hour_began_at end
    from unnest(${[...taken.keys()]}::uuid[], ${[...taken.values()]}::int[]) as one (id, taken)
    where enrollment_profile.id = one.id`.execute(tx)
}
