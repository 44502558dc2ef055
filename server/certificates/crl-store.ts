import type { Selectable } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { CrlTable } from '../db/schema.ts'
import { reasonNumber } from './state.ts'

export type CrlRow = Selectable<CrlTable>
export type CrlHead = Omit<CrlRow, 'der'>

/** Instead of the number of a shard: everything the authority took back. */
export const wholeList = -1

/** One list of an authority, in the database's terms. */
export interface CrlPart {
  shard: number
  isDelta: boolean
}

const headColumns = [
  'authority_id',
  'shard',
  'is_delta',
  'number',
  'covers_rev',
  'base_number',
  'base_rev',
  'base_at',
  'this_update',
  'next_update',
] as const

export async function findLatestCrl(
  db: Db,
  authorityId: string,
  { shard, isDelta }: CrlPart = { shard: wholeList, isDelta: false },
): Promise<CrlRow | undefined> {
  return await db
    .selectFrom('crl')
    .selectAll()
    .where('authority_id', '=', authorityId)
    .where('shard', '=', shard)
    .where('is_delta', '=', isDelta)
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst()
}

/** The latest without its bytes, which may be megabytes. */
export async function findLatestCrlHead(
  db: Db,
  authorityId: string,
  { shard, isDelta }: CrlPart = { shard: wholeList, isDelta: false },
): Promise<CrlHead | undefined> {
  return await db
    .selectFrom('crl')
    .select(headColumns)
    .where('authority_id', '=', authorityId)
    .where('shard', '=', shard)
    .where('is_delta', '=', isDelta)
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst()
}

/** The latest full list of each shard and of the whole, without the bytes. At most 257. */
export async function listLatestHeads(db: Db, authorityId: string): Promise<CrlHead[]> {
  return await db
    .selectFrom('crl')
    .select(headColumns)
    .distinctOn('shard')
    .where('authority_id', '=', authorityId)
    .where('is_delta', '=', false)
    .orderBy('shard')
    .orderBy('number', 'desc')
    .execute()
}

/** Returns false when this number was taken by somebody else. */
export async function insertCrl(tx: Tx, row: CrlRow): Promise<boolean> {
  const inserted = await tx
    .insertInto('crl')
    .values(row)
    .onConflict((oc) => oc.columns(['authority_id', 'shard', 'is_delta', 'number']).doNothing())
    .returning('number')
    .executeTakeFirst()
  return inserted !== undefined
}

/** A list replaces those before it; the one before the latest is kept for who is just reading it. */
export async function deleteOlderCrls(
  tx: Tx,
  authorityId: string,
  { shard, before }: { shard: number; before: number },
): Promise<void> {
  await tx
    .deleteFrom('crl')
    .where('authority_id', '=', authorityId)
    .where('shard', '=', shard)
    .where('number', '<', before)
    .execute()
}

export interface ListedEntry {
  id: string
  serial: Buffer
  shard: number
  /** The authority's revocation number when this was last changed. */
  rev: number
}

export interface RevokedEntry extends ListedEntry {
  revokedAt: Date
  reason?: number
}

interface PageOf {
  validAfter: Date
  after: string | undefined
  limit: number
}

/**
 * A page, by id, of what the authority took back and that was still valid at `validAfter`. An abandoned intent is listed
 * with the time it was made.
 */
export async function listRevoked(
  db: Db,
  authorityId: string,
  page: PageOf,
): Promise<RevokedEntry[]> {
  const rows = await listed(db, authorityId, page)
    .select(['revoked_at', 'created_at', 'revocation_reason'])
    .where('state', 'in', ['revoked', 'held', 'abandoned'])
    .execute()
  return rows.map((row) => {
    const reason = reasonNumber(row.revocation_reason)
    return {
      ...entryOf(row),
      revokedAt: row.revoked_at ?? row.created_at,
      ...(reason === undefined ? {} : { reason }),
    }
  })
}

/** A page, by id, of the holds that were released after `afterRev`. */
export async function listReleased(
  db: Db,
  authorityId: string,
  { afterRev, ...page }: PageOf & { afterRev: number },
): Promise<ListedEntry[]> {
  const rows = await listed(db, authorityId, page)
    .where('state', 'in', ['issued', 'superseded'])
    .where('revocation_rev', '>', Math.max(0, afterRev))
    .execute()
  return rows.map(entryOf)
}

function listed(db: Db, authorityId: string, { validAfter, after, limit }: PageOf) {
  const query = db
    .selectFrom('certificate')
    .select(['id', 'serial', 'crl_shard', 'revocation_rev'])
    .where('authority_id', '=', authorityId)
    .where('not_after', '>', validAfter)
    .orderBy('id')
    .limit(limit)
  return after === undefined ? query : query.where('id', '>', after)
}

function entryOf(row: {
  id: string
  serial: Buffer
  crl_shard: number | null
  revocation_rev: number
}): ListedEntry {
  const { id, serial, crl_shard: shard, revocation_rev: rev } = row
  return { id, serial, shard: shard ?? wholeList, rev }
}

/** Which shards changed after a revocation number, and when last. At most 256 and the whole list. */
export async function listChangedShards(
  db: Db,
  authorityId: string,
  afterRev: number,
): Promise<Map<number, number>> {
  const rows = await db
    .selectFrom('certificate')
    .select((eb) => ['crl_shard', eb.fn.max('revocation_rev').as('rev')])
    .where('authority_id', '=', authorityId)
    .where('revocation_rev', '>', Math.max(0, afterRev))
    .groupBy('crl_shard')
    .execute()
  return new Map(rows.map(({ crl_shard: shard, rev }) => [shard ?? wholeList, Number(rev)]))
}

/** Nothing under it is valid any more then, and nobody can sign its lists. */
export async function isKeyDestroyed(db: Db, authorityId: string): Promise<boolean> {
  const row = await db
    .selectFrom('authority')
    .select('id')
    .where('id', '=', authorityId)
    .where('key_destroyed_at', 'is not', null)
    .executeTakeFirst()
  return row !== undefined
}

/** Authorities that can sign a CRL, with the revocation number theirs has to cover. */
export async function listSigningAuthorities(
  db: Db,
): Promise<{ id: string; revocation_rev: number }[]> {
  return await db
    .selectFrom('authority')
    .select(['id', 'revocation_rev'])
    .where('state', '<>', 'prepared')
    .where((eb) => eb.or([eb('wrapped_key', 'is not', null), eb('key_uri', 'is not', null)]))
    .execute()
}
