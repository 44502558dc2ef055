import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { AuthorityTable, InstallationTable, ServerIdentityTable } from '../db/schema.ts'

export type AuthorityRow = Omit<Selectable<AuthorityTable>, 'state' | 'revocation_rev'>

/** Any constant, as long as nothing else in the same database locks on it. */
const advisoryLock = 4_931_106

/** Until the end of the transaction, one process at a time makes an installation. */
export async function lockInstallation(tx: Tx): Promise<void> {
  await sql`select pg_advisory_xact_lock(${advisoryLock})`.execute(tx)
}

export async function findInstallation(db: Db): Promise<Selectable<InstallationTable> | undefined> {
  return await db.selectFrom('installation').selectAll().executeTakeFirst()
}

export async function insertInstallation(tx: Tx, kekCheck: Buffer, now: Date): Promise<void> {
  await tx
    .insertInto('installation')
    .values({ id: 1, kek_check: kekCheck, created_at: now })
    .execute()
}

/** Each after its issuer. */
export async function insertAuthorities(tx: Tx, rows: readonly AuthorityRow[]): Promise<void> {
  await tx
    .insertInto('authority')
    .values([...rows])
    .execute()
}

export async function listActiveAuthorities(db: Db): Promise<AuthorityRow[]> {
  return await db
    .selectFrom('authority')
    .select(['id', 'purpose', 'name', 'issuer_id', 'certificate', 'wrapped_key', 'created_at'])
    .where('state', '=', 'active')
    .execute()
}

/** The key of a server certificate, with the intent of the certificate. */
export async function insertServerIdentity(
  tx: Tx,
  row: Selectable<ServerIdentityTable>,
): Promise<void> {
  await tx.insertInto('server_identity').values(row).execute()
}

export interface ServerIdentityRow {
  certificate_id: string
  der: Buffer
  wrapped_key: Buffer
}

/** The newest server certificate of this issuer whose key we hold. */
export async function findServerIdentity(
  db: Db,
  issuerId: string,
): Promise<ServerIdentityRow | undefined> {
  const row = await db
    .selectFrom('server_identity')
    .innerJoin('certificate', 'certificate.id', 'server_identity.certificate_id')
    .select(['certificate_id', 'der', 'wrapped_key'])
    .where('certificate.authority_id', '=', issuerId)
    .where('certificate.state', '=', 'issued')
    .orderBy('certificate.created_at', 'desc')
    .limit(1)
    .executeTakeFirst()
  return row?.der ? { ...row, der: row.der } : undefined
}

/** The administrator's key that the first start made; undefined when it was revoked. */
export async function findFirstApiKey(db: Db): Promise<{ id: string; hash: Buffer } | undefined> {
  return await db
    .selectFrom('api_key')
    .select(['id', 'secret_hash as hash'])
    .where('created_by', '=', 'system')
    .where('revoked_at', 'is', null)
    .orderBy('id')
    .limit(1)
    .executeTakeFirst()
}
