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
  /** Of the transaction that wrote it, in digits. */
  xid: string
  device_id: string | null
  group_id: string | null
}

/** Where a reader is: everything that transactions before `xid` wrote was read, and of `xid` what is up to `seq`. */
export interface ChangePlace {
  xid: string
  seq: number
}

/**
 * Changes after `place`, by transaction, as far as they are committed.
 *
 * @returns with the oldest transaction that was still running when this was read: whatever earlier ones wrote is in the answer
 */
export async function identityChangesAfter(
  db: Db,
  { xid, seq }: ChangePlace,
  limit: number,
): Promise<{ changes: IdentityChange[]; horizon: string }> {
  // One statement, hence one snapshot: the horizon is that of the very rows that were seen.
  const { rows } = await sql<IdentityChange & { horizon: string; seq: number | null }>`
    select pg_snapshot_xmin(pg_current_snapshot())::text as horizon,
      page.seq, page.xid::text as xid, page.device_id, page.group_id
    from (select 1) as one left join lateral (
      select seq, xid, device_id, group_id from identity_change
      where (xid, seq) > (${xid}::xid8, ${seq}::bigint) order by xid, seq limit ${limit}
    ) as page on true`.execute(db)
  const [{ horizon } = { horizon: xid }] = rows
  const changes = rows
    .filter((row) => row.seq !== null)
    .map((row) => ({ ...row, seq: Number(row.seq) }))
  return { changes, horizon }
}

/** The oldest transaction that is running now, in digits: what it and later ones write may not be visible yet. */
export async function identityHorizon(db: Db): Promise<string> {
  const { rows } = await sql<{
    horizon: string
  }>`select pg_snapshot_xmin(pg_current_snapshot())::text as horizon`.execute(db)
  const [row] = rows
  if (!row) throw new Error('The database named no snapshot')
  return row.horizon
}

/** Removes up to `limit` changes that every running process has long read. Returns how many. */
export async function deleteIdentityChanges(tx: Tx, before: Date, limit: number): Promise<number> {
  const { rows } = await sql`delete from identity_change where seq in (
    select seq from identity_change where at < ${before} order by seq limit ${limit}) returning seq`.execute(
    tx,
  )
  return rows.length
}
