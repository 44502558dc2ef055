import { sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'

/** In the transaction of each revocation: from now on a CRL that does not cover this number is out of date. */
export async function raiseRevocationRev(tx: Tx, authorityIds: readonly string[]): Promise<void> {
  if (authorityIds.length === 0) return
  await tx
    .updateTable('authority')
    .set((eb) => ({ revocation_rev: eb('revocation_rev', '+', 1) }))
    .where('id', '=', sql<string>`any(${[...new Set(authorityIds)].toSorted()}::uuid[])`)
    .execute()
}

/** Every list is out of date: after a restore, whose numbers have moved. */
export async function raiseAllRevocationRevs(tx: Tx): Promise<void> {
  await tx
    .updateTable('authority')
    .set((eb) => ({ revocation_rev: eb('revocation_rev', '+', 1) }))
    .execute()
}

export async function readRevocationRev(db: Db, authorityId: string): Promise<number> {
  const row = await db
    .selectFrom('authority')
    .select('revocation_rev')
    .where('id', '=', authorityId)
    .executeTakeFirstOrThrow()
  return row.revocation_rev
}
