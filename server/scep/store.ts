import { isDeepStrictEqual } from 'node:util'

import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { ScepPolicyTable, ScepTransactionTable } from '../db/schema.ts'

export type ScepPolicyRow = Selectable<ScepPolicyTable>
export type ScepTransaction = Selectable<ScepTransactionTable>

export async function findScepPolicy(
  db: Db,
  profileId: string,
): Promise<ScepPolicyRow | undefined> {
  return await db
    .selectFrom('scep_policy')
    .selectAll()
    .where('profile_id', '=', profileId)
    .executeTakeFirst()
}

/** Returns false when it was like this already. */
export async function saveScepPolicy(
  tx: Tx,
  row: Omit<ScepPolicyRow, 'version'>,
): Promise<boolean> {
  const before = await tx
    .selectFrom('scep_policy')
    .selectAll()
    .where('profile_id', '=', row.profile_id)
    .forUpdate()
    .executeTakeFirst()
  if (before) {
    const { version: __, ...content } = { ...before, changed_at: row.changed_at }
    if (isDeepStrictEqual(content, row)) return false
  }
  const { profile_id: _, ...columns } = row
  await tx
    .insertInto('scep_policy')
    .values(row)
    .onConflict((oc) => oc.column('profile_id').doUpdateSet(columns))
    .execute()
  return true
}

/** Returns false when this signer has sent it before. */
export async function insertNonce(
  tx: Tx,
  row: { spki_sha256: Buffer; nonce: Buffer; seen_at: Date },
): Promise<boolean> {
  const inserted = await tx
    .insertInto('scep_nonce')
    .values(row)
    .onConflict((oc) => oc.doNothing())
    .returning('nonce')
    .executeTakeFirst()
  return inserted !== undefined
}

export async function countNonces(db: Db, spkiSha256: Buffer, since: Date): Promise<number> {
  const row = await db
    .selectFrom('scep_nonce')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('spki_sha256', '=', spkiSha256)
    .where('seen_at', '>', since)
    .executeTakeFirstOrThrow()
  return Number(row.count)
}

/** Returns false when another key has the transactionID. */
export async function saveTransaction(tx: Tx, row: ScepTransaction): Promise<boolean> {
  const { token_id, csr, last_seen_at } = row
  const saved = await tx
    .insertInto('scep_transaction')
    .values(row)
    .onConflict((oc) =>
      oc
        .columns(['profile_id', 'transaction_id'])
        .doUpdateSet({ token_id, csr, last_seen_at })
        .where('scep_transaction.spki_sha256', '=', row.spki_sha256),
    )
    .returning('transaction_id')
    .executeTakeFirst()
  return saved !== undefined
}

export async function findTransaction(
  db: Db,
  profileId: string,
  transactionId: string,
): Promise<ScepTransaction | undefined> {
  return await db
    .selectFrom('scep_transaction')
    .selectAll()
    .where('profile_id', '=', profileId)
    .where('transaction_id', '=', transactionId)
    .executeTakeFirst()
}

/** The certificate of a device by its serial number, DER. */
export async function findCertificateOf(
  db: Db,
  { deviceId, authorityId, serial }: { deviceId: string; authorityId: string; serial: Buffer },
): Promise<Buffer | undefined> {
  const row = await db
    .selectFrom('certificate')
    .select('der')
    .where('device_id', '=', deviceId)
    .where('authority_id', '=', authorityId)
    .where('serial', '=', serial)
    .executeTakeFirst()
  return row?.der ?? undefined
}

/** Forgets nonces and transactions of before, at most `limit` of each; returns how many. */
export async function deleteSeen(tx: Tx, before: Date, limit: number): Promise<number> {
  const nonces = await sql`delete from scep_nonce where (spki_sha256, nonce) in (
    select spki_sha256, nonce from scep_nonce where seen_at < ${before} limit ${limit})`.execute(tx)
  const transactions =
    await sql`delete from scep_transaction where (profile_id, transaction_id) in (
    select profile_id, transaction_id from scep_transaction where last_seen_at < ${before} limit ${limit})`.execute(
      tx,
    )
  return Math.max(Number(nonces.numAffectedRows ?? 0), Number(transactions.numAffectedRows ?? 0))
}
