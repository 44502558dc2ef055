import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { AuditCheckpointTable, AuditKeyTable } from '../db/schema.ts'

export type AuditKeyRow = Selectable<AuditKeyTable>
export type CheckpointRow = Selectable<AuditCheckpointTable>

/** Oldest first. There are few: one more each time the key is replaced. */
export async function listAuditKeys(db: Db): Promise<AuditKeyRow[]> {
  return await db.selectFrom('audit_key').selectAll().orderBy('created_at').orderBy('id').execute()
}

export async function currentAuditKey(db: Db): Promise<AuditKeyRow | undefined> {
  return await db
    .selectFrom('audit_key')
    .selectAll()
    .where('retired_at', 'is', null)
    .executeTakeFirst()
}

export async function findAuditKey(db: Db, id: string): Promise<AuditKeyRow | undefined> {
  return await db.selectFrom('audit_key').selectAll().where('id', '=', id).executeTakeFirst()
}

/** False when there is a key in use already. */
export async function insertAuditKey(
  tx: Tx,
  key: Omit<AuditKeyRow, 'retired_at'>,
): Promise<boolean> {
  const row = await tx
    .insertInto('audit_key')
    .values({ ...key, retired_at: null })
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Ends a key and forgets its private half. False when another one is in use by now. */
export async function retireAuditKey(tx: Tx, id: string, now: Date): Promise<boolean> {
  const row = await tx
    .updateTable('audit_key')
    .set({ retired_at: now, wrapped_key: null })
    .where('id', '=', id)
    .where('retired_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

export async function setWrappedAuditKey(tx: Tx, id: string, wrapped: Buffer): Promise<void> {
  await tx.updateTable('audit_key').set({ wrapped_key: wrapped }).where('id', '=', id).execute()
}

export async function latestCheckpoint(db: Db): Promise<CheckpointRow | undefined> {
  return await db
    .selectFrom('audit_checkpoint')
    .selectAll()
    .orderBy('chain_no', 'desc')
    .limit(1)
    .executeTakeFirst()
}

/** Newest first; `before` is a place in the chain. */
export async function listCheckpoints(
  db: Db,
  page: { before: string | undefined; limit: number },
): Promise<CheckpointRow[]> {
  return await db
    .selectFrom('audit_checkpoint')
    .selectAll()
    .$if(page.before !== undefined, (query) => query.where('chain_no', '<', Number(page.before)))
    .orderBy('chain_no', 'desc')
    .limit(page.limit)
    .execute()
}

/** Those of places after `after`, up to and with `upTo`, in order. There is at most one for each place: a smaller `limit` leaves some out. */
export async function checkpointsBetween(
  db: Db,
  range: { after: number; upTo: number; limit: number },
): Promise<CheckpointRow[]> {
  return await db
    .selectFrom('audit_checkpoint')
    .selectAll()
    .where('chain_no', '>', range.after)
    .where('chain_no', '<=', range.upTo)
    .orderBy('chain_no')
    .limit(range.limit)
    .execute()
}

/** Nothing when there is one of this place already. */
export async function insertCheckpoint(tx: Tx, row: CheckpointRow): Promise<void> {
  await tx
    .insertInto('audit_checkpoint')
    .values(row)
    .onConflict((oc) => oc.column('chain_no').doNothing())
    .execute()
}

/** Where the chain begins: the last place that was dropped. Undefined while it is whole. */
export async function chainBegin(db: Db): Promise<{ chainNo: number; hash: Buffer } | undefined> {
  const row = await db
    .selectFrom('audit_start')
    .select(['chain_no', 'hash'])
    .orderBy('chain_no', 'desc')
    .limit(1)
    .executeTakeFirst()
  return row && { chainNo: row.chain_no, hash: row.hash }
}

export interface Hold {
  at: Date
  actor: string
  held: boolean
  reason: string
}

export async function latestHold(db: Db): Promise<Hold | undefined> {
  return await db
    .selectFrom('audit_hold')
    .select(['at', 'actor', 'held', 'reason'])
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst()
}

export async function insertHold(tx: Tx, hold: Hold): Promise<void> {
  await tx.insertInto('audit_hold').values(hold).execute()
}

/** One change of the hold at a time. */
export async function lockHold(tx: Tx): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtext('fleetseal audit hold'))`.execute(tx)
}

/** The youngest place that lies before an instant with everything before it and was signed, at most `rows` after `begin`. */
export async function droppableTo(
  db: Db,
  { begin, before, rows }: { begin: number; before: Date; rows: number },
): Promise<number | undefined> {
  const { rows: found } = await sql<{ bound: number | null }>`
    select max(c.chain_no) as bound from audit_checkpoint c
    where c.chain_no > ${begin} and c.chain_no <= ${begin + rows}
      and c.chain_no < coalesce(
        (select min(e.chain_no) from audit_event e where e.chain_no > ${begin} and e.chain_no <= ${begin + rows} and e.at >= ${before}),
        ${begin + rows + 1})
      and c.chain_no < (select max(e.chain_no) from audit_event e)`.execute(db)
  const bound = found[0]?.bound
  return bound === null || bound === undefined ? undefined : Number(bound)
}

/** Drops the rows up to a place, by the function that alone may (migration 0044). Returns how many. */
export async function dropUpTo(tx: Tx, bound: number): Promise<number> {
  const { rows } = await sql<{ dropped: number }>`select audit_drop(${bound}) as dropped`.execute(
    tx,
  )
  return Number(rows[0]?.dropped ?? 0)
}

/** What this connection may do to what is recorded, beyond adding to it. Nothing where the rights are separated. */
export async function excessiveRights(db: Db): Promise<string[]> {
  const { rows } = await sql<{ name: string; held: boolean }>`
    select p.name, has_table_privilege(current_user, 'audit_event', p.name) as held
      from unnest(array['UPDATE', 'DELETE', 'TRUNCATE']) as p (name)
    union all
    select 'OWNER', pg_has_role(current_user, c.relowner, 'MEMBER') from pg_class c where c.oid = 'audit_event'::regclass`.execute(
    db,
  )
  return rows.filter(({ held }) => held).map(({ name }) => name)
}
