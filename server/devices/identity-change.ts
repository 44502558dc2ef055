import { sql } from 'kysely'

import type { Context } from '../context.ts'
import type { Db, Tx } from '../db/client.ts'

/**
 * Writes down that the right of these devices, or of all members of a group, to be connected may have changed. Belongs in
 * the transaction that changes it: what every process re-reads after a lost notification (architecture.md §6).
 */
export async function recordIdentityChanges(
  tx: Tx,
  { deviceIds = [], groupId, now }: { deviceIds?: readonly string[]; groupId?: string; now: Date },
): Promise<void> {
  if (deviceIds.length > 0) {
    await sql`insert into identity_change (device_id, at)
      select id, ${now} from unnest(${[...deviceIds]}::uuid[]) as id`.execute(tx)
  }
  if (groupId !== undefined) {
    await tx
      .insertInto('identity_change')
      .values({ device_id: null, group_id: groupId, at: now })
      .execute()
  }
}

/**
 * Tells every process to look at `identity_change` now. After the commit; when it is lost, the next sweep does
 * the same. The ids (of devices or groups) are hints: who has to be right reads the table.
 */
export async function announceIdentityChange(
  { bus, identities }: Pick<Context, 'bus'> & Partial<Pick<Context, 'identities'>>,
  ids: readonly string[],
): Promise<void> {
  if (ids.length === 0) return
  await bus.publish('identity', ids)
  // So that the change is in force in this process when the caller answers.
  await identities?.sweep?.()
}

export interface IdentityChange {
  seq: number
  device_id: string | null
  group_id: string | null
}

/** Changes after `seq`, oldest first. */
export async function identityChangesAfter(
  db: Db,
  seq: number,
  limit: number,
): Promise<IdentityChange[]> {
  return await db
    .selectFrom('identity_change')
    .select(['seq', 'device_id', 'group_id'])
    .where('seq', '>', seq)
    .orderBy('seq')
    .limit(limit)
    .execute()
}

export async function lastIdentityChange(db: Db): Promise<number> {
  const row = await db
    .selectFrom('identity_change')
    .select((eb) => eb.fn.max('seq').as('seq'))
    .executeTakeFirst()
  return Number(row?.seq ?? 0)
}

/** Removes up to `limit` changes that every running process has long read. Returns how many. */
export async function deleteIdentityChanges(tx: Tx, before: Date, limit: number): Promise<number> {
  const { rows } = await sql`delete from identity_change where seq in (
    select seq from identity_change where at < ${before} order by seq limit ${limit}) returning seq`.execute(
    tx,
  )
  return rows.length
}
