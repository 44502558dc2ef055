import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type {
  AuthorityTable,
  InstallationTable,
  RootLinkTable,
  ServerIdentityTable,
} from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import { type AuthorityPurpose, type AuthorityState, defaultSeries } from './state.ts'

export type AuthorityRow = Omit<Selectable<AuthorityTable>, 'revocation_rev'>
export type RootLinkRow = Selectable<RootLinkTable>

/** Any constant, as long as nothing else in the same database locks on it. */
const advisoryLock = 4_931_106

/** Until the end of the transaction, one process at a time makes or changes authorities. */
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

/** Holds what the key-encryption key is checked against: shared by those who wrap, alone for the one who changes it. */
export async function lockKekCheck(tx: Tx, mode: 'share' | 'update'): Promise<Buffer | undefined> {
  const query = tx.selectFrom('installation').select('kek_check')
  const row = await (mode === 'share' ? query.forShare() : query.forUpdate()).executeTakeFirst()
  return row?.kek_check
}

/** Each after its issuer. */
export async function insertAuthorities(tx: Tx, rows: readonly AuthorityRow[]): Promise<void> {
  await tx
    .insertInto('authority')
    .values([...rows])
    .execute()
}

const columns = [
  'id',
  'purpose',
  'name',
  'state',
  'issuer_id',
  'certificate',
  'wrapped_key',
  'series',
  'key_uri',
  'revoked_at',
  'revocation_reason',
  'key_destroyed_at',
  'created_at',
  'changed_at',
] as const

/** Oldest first. A person makes each of them, so there are few. */
export async function listAuthorities(db: Db): Promise<AuthorityRow[]> {
  return await db.selectFrom('authority').select(columns).orderBy('id').execute()
}

/** Newest first. `before` is the id of the last one seen. */
export async function pageOfAuthorities(
  db: Db,
  { before, limit }: { before?: string | undefined; limit: number },
): Promise<AuthorityRow[]> {
  let query = db.selectFrom('authority').select(columns)
  if (before !== undefined) query = query.where('id', '<', before)
  return await query.orderBy('id', 'desc').limit(limit).execute()
}

export async function findAuthority(db: Db, id: string): Promise<AuthorityRow | undefined> {
  return await db.selectFrom('authority').select(columns).where('id', '=', id).executeTakeFirst()
}

export async function getAuthority(db: Db, id: string): Promise<AuthorityRow> {
  const row = await findAuthority(db, id)
  if (!row) throw new DomainError('not-found', 'No such authority', { authorityId: id })
  return row
}

export async function findActive(
  db: Db,
  purpose: AuthorityPurpose,
  series = defaultSeries,
): Promise<AuthorityRow | undefined> {
  return await db
    .selectFrom('authority')
    .select(columns)
    .where('purpose', '=', purpose)
    .where('series', '=', series)
    .where('state', '=', 'active')
    .executeTakeFirst()
}

export async function countInUse(
  db: Db,
  purpose: AuthorityPurpose,
  series: string,
): Promise<number> {
  const { count } = await db
    .selectFrom('authority')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('purpose', '=', purpose)
    .where('series', '=', series)
    .where('state', '<>', 'retired')
    .executeTakeFirstOrThrow()
  return Number(count)
}

export async function setState(
  tx: Tx,
  id: string,
  { from, to, now }: { from: AuthorityState; to: AuthorityState; now: Date },
): Promise<void> {
  const changed = await tx
    .updateTable('authority')
    .set({ state: to, changed_at: now })
    .where('id', '=', id)
    .where('state', '=', from)
    .returning('id')
    .executeTakeFirst()
  if (!changed) throw new DomainError('conflict', 'The authority was changed meanwhile: look again')
}

/** Whether an enrollment profile wants certificates of a series. */
export async function isSeriesNamed(db: Db, series: string): Promise<boolean> {
  const row = await db
    .selectFrom('enrollment_profile')
    .select('id')
    .where('issuer_series', '=', series)
    .limit(1)
    .executeTakeFirst()
  return row !== undefined
}

/** Of a retired authority. */
export async function clearKey(tx: Tx, id: string, now: Date): Promise<void> {
  await tx
    .updateTable('authority')
    .set({ wrapped_key: null, key_uri: null, key_destroyed_at: now, changed_at: now })
    .where('id', '=', id)
    .where('state', '=', 'retired')
    .execute()
}

/** When the last certificate under an authority ends, of whatever kind; undefined when there never was one. */
export async function lastEndUnder(db: Db, id: string): Promise<Date | undefined> {
  const { last } = await db
    .selectFrom('certificate')
    .select((eb) => eb.fn.max('not_after').as('last'))
    .where('authority_id', '=', id)
    .executeTakeFirstOrThrow()
  return last ?? undefined
}

/** Certificates of the authorities below one. */
export async function listBelow(db: Db, id: string): Promise<Buffer[]> {
  const rows = await db
    .selectFrom('authority')
    .select('certificate')
    .where('issuer_id', '=', id)
    .execute()
  return rows.map(({ certificate }) => certificate)
}

export async function setRevoked(
  tx: Tx,
  id: string,
  { revokedAt, reason, now }: { revokedAt: Date; reason: string; now: Date },
): Promise<void> {
  await tx
    .updateTable('authority')
    .set({ revoked_at: revokedAt, revocation_reason: reason, changed_at: now })
    .where('id', '=', id)
    .where('revoked_at', 'is', null)
    .execute()
}

/** What keeps an authority from being retired: certificates of devices that it vouches for, and authorities below it. */
export async function countDependents(
  db: Db,
  id: string,
  now: Date,
): Promise<{ certificates: number; authorities: number }> {
  const certificates = await db
    .selectFrom('certificate')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('authority_id', '=', id)
    .where('kind', '=', 'device')
    .where('state', 'not in', ['superseded', 'revoked', 'abandoned'])
    .where('not_after', '>', now)
    .executeTakeFirstOrThrow()
  const authorities = await db
    .selectFrom('authority')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('issuer_id', '=', id)
    .where('state', '<>', 'retired')
    .executeTakeFirstOrThrow()
  return { certificates: Number(certificates.count), authorities: Number(authorities.count) }
}

export async function listRootLinks(db: Db): Promise<RootLinkRow[]> {
  return await db.selectFrom('root_link').selectAll().orderBy('new_id').orderBy('old_id').execute()
}

export async function insertRootLinks(tx: Tx, rows: readonly RootLinkRow[]): Promise<void> {
  if (rows.length === 0) return
  await tx
    .insertInto('root_link')
    .values([...rows])
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

/** Server certificates of this issuer whose keys we hold, newest first: enough of them to find each kind of key. */
export async function listServerIdentities(db: Db, issuerId: string): Promise<ServerIdentityRow[]> {
  const rows = await db
    .selectFrom('server_identity')
    .innerJoin('certificate', 'certificate.id', 'server_identity.certificate_id')
    .select(['certificate_id', 'der', 'wrapped_key'])
    .where('certificate.authority_id', '=', issuerId)
    .where('certificate.state', '=', 'issued')
    .orderBy('certificate.created_at', 'desc')
    .limit(32)
    .execute()
  return rows.flatMap((row) => (row.der ? { ...row, der: row.der } : []))
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
