import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { AuditEventTable } from '../db/schema.ts'

export type AuditRow = Selectable<AuditEventTable>

/** A row as it is hashed (pki/audit/chain.ts): instants and JSON as the database's own text. */
export interface SealableRow {
  format: number
  seq: number
  at_text: string
  actor: string
  action: string
  subject: string
  facts_text: string
  request_id: string | null
  origin_text: string | null
}
export interface SealedRow extends SealableRow {
  chain_no: number
  prev_hash: Buffer
  hash: Buffer
}
export interface Seal {
  seq: number
  chainNo: number
  prevHash: Buffer
  hash: Buffer
}

const sealable = [
  'seq',
  'actor',
  'action',
  'subject',
  'request_id',
  'format',
  sql<string>`to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`.as('at_text'),
  sql<string>`facts::text`.as('facts_text'),
  sql<string | null>`origin::text`.as('origin_text'),
] as const

/** Newest first. `before` is a `seq`. */
export async function listAudit(
  db: Db,
  filter: {
    subject?: string | undefined
    actor?: string | undefined
    action?: string | undefined
    before?: string | undefined
    limit: number
  },
): Promise<AuditRow[]> {
  let query = db.selectFrom('audit_event').selectAll()
  if (filter.subject !== undefined) query = query.where('subject', '=', filter.subject)
  if (filter.actor !== undefined) query = query.where('actor', '=', filter.actor)
  if (filter.action !== undefined) query = query.where('action', '=', filter.action)
  if (filter.before !== undefined) query = query.where('seq', '<', Number(filter.before))
  return await query.orderBy('seq', 'desc').limit(filter.limit).execute()
}

/** One sealer at a time, whatever process it runs in. False: somebody else seals now. Ends with the transaction. */
export async function becomeSealer(tx: Tx): Promise<boolean> {
  const { rows } = await sql<{ mine: boolean }>`
    select pg_try_advisory_xact_lock(hashtext('fleetseal audit seal')) as mine`.execute(tx)
  return rows[0]?.mine ?? false
}

export async function chainHead(db: Db): Promise<{ chainNo: number; hash: Buffer } | undefined> {
  const row = await db
    .selectFrom('audit_event')
    .select(['chain_no', 'hash'])
    .where('chain_no', 'is not', null)
    .orderBy('chain_no', 'desc')
    .limit(1)
    .executeTakeFirst()
  return row?.chain_no && row.hash ? { chainNo: row.chain_no, hash: row.hash } : undefined
}

export async function unsealedRows(tx: Tx, limit: number): Promise<SealableRow[]> {
  return await tx
    .selectFrom('audit_event')
    .select(sealable)
    .where('chain_no', 'is', null)
    .orderBy('seq')
    .limit(limit)
    .execute()
}

export async function countUnsealed(db: Db): Promise<number> {
  const { count } = await db
    .selectFrom('audit_event')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('chain_no', 'is', null)
    .executeTakeFirstOrThrow()
  return Number(count)
}

/** By a function of the database: the server's role may not update the table (migration 0044). */
export async function writeSeals(tx: Tx, seals: readonly Seal[]): Promise<void> {
  const hex = (buffer: Buffer) => buffer.toString('hex')
  await sql`
    select audit_seal(
      ${seals.map(({ seq }) => seq)}::bigint[], ${seals.map(({ chainNo }) => chainNo)}::bigint[],
      ${seals.map(({ prevHash }) => hex(prevHash))}::text[], ${seals.map(({ hash }) => hex(hash))}::text[])`.execute(
    tx,
  )
}

/** Sealed rows in chain order, after a place in the chain. */
export async function sealedRows(db: Db, after: number, limit: number): Promise<SealedRow[]> {
  const rows = await db
    .selectFrom('audit_event')
    .select([...sealable, 'chain_no', 'prev_hash', 'hash'])
    .where('chain_no', '>', after)
    .orderBy('chain_no')
    .limit(limit)
    .execute()
  // The query leaves out rows without a place; a place without hashes is shown as the break that it is.
  return rows.map((row) => ({
    ...row,
    chain_no: row.chain_no ?? 0,
    prev_hash: row.prev_hash ?? Buffer.alloc(0),
    hash: row.hash ?? Buffer.alloc(0),
  }))
}

export async function hashAt(db: Db, chainNo: number): Promise<Buffer | undefined> {
  const row = await db
    .selectFrom('audit_event')
    .select('hash')
    .where('chain_no', '=', chainNo)
    .executeTakeFirst()
  return row?.hash ?? undefined
}
