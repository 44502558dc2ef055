import type { Selectable } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { CrlTable } from '../db/schema.ts'
import { reasonNumber } from './state.ts'

export type CrlRow = Selectable<CrlTable>

export async function findLatestCrl(db: Db, authorityId: string): Promise<CrlRow | undefined> {
  return await db
    .selectFrom('crl')
    .selectAll()
    .where('authority_id', '=', authorityId)
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst()
}

/** The latest without its bytes, which may be megabytes. */
export async function findLatestCrlHead(
  db: Db,
  authorityId: string,
): Promise<Omit<CrlRow, 'der'> | undefined> {
  return await db
    .selectFrom('crl')
    .select(['authority_id', 'number', 'covers_rev', 'this_update', 'next_update'])
    .where('authority_id', '=', authorityId)
    .orderBy('number', 'desc')
    .limit(1)
    .executeTakeFirst()
}

/** Returns false when this number was taken by somebody else. */
export async function insertCrl(tx: Tx, row: CrlRow): Promise<boolean> {
  const inserted = await tx
    .insertInto('crl')
    .values(row)
    .onConflict((oc) => oc.columns(['authority_id', 'number']).doNothing())
    .returning('number')
    .executeTakeFirst()
  return inserted !== undefined
}

/** A CRL replaces those before it; the one before the latest is kept for who is just reading it. */
export async function deleteOlderCrls(tx: Tx, authorityId: string, number: number): Promise<void> {
  await tx
    .deleteFrom('crl')
    .where('authority_id', '=', authorityId)
    .where('number', '<', number - 1)
    .execute()
}

export interface RevokedEntry {
  id: string
  serial: Buffer
  revokedAt: Date
  reason?: number
}

/**
 * A page, by id, of what the authority took back and that was still valid at `validAfter`. An abandoned intent is listed
 * with the time it was made.
 */
export async function listRevoked(
  db: Db,
  authorityId: string,
  { validAfter, after, limit }: { validAfter: Date; after: string | undefined; limit: number },
): Promise<RevokedEntry[]> {
  let query = db
    .selectFrom('certificate')
    .select(['id', 'serial', 'revoked_at', 'created_at', 'revocation_reason'])
    .where('authority_id', '=', authorityId)
    .where('state', 'in', ['revoked', 'abandoned'])
    .where('not_after', '>', validAfter)
  if (after !== undefined) query = query.where('id', '>', after)
  const rows = await query.orderBy('id').limit(limit).execute()
  return rows.map((row) => {
    const reason = reasonNumber(row.revocation_reason)
    return {
      id: row.id,
      serial: row.serial,
      revokedAt: row.revoked_at ?? row.created_at,
      ...(reason === undefined ? {} : { reason }),
    }
  })
}

/** Authorities that can sign a CRL, with the revocation number theirs has to cover. */
export async function listSigningAuthorities(
  db: Db,
): Promise<{ id: string; revocation_rev: number }[]> {
  return await db
    .selectFrom('authority')
    .select(['id', 'revocation_rev'])
    .where('state', '=', 'active')
    .where('wrapped_key', 'is not', null)
    .execute()
}
