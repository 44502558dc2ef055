import { sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { spkiHash } from './intent.ts'
import type { CertificateRow } from './store.ts'

/* What certificates of many devices need, in one statement each however many they are. Bytes travel as hex: of arrays of
   bytea the two databases have different opinions. */

const hexOf = (bytes: Buffer) => bytes.toString('hex')

/** Those of the request keys that were seen before, in hex. */
export async function seenRequestKeys(db: Db, keys: readonly Buffer[]): Promise<Set<string>> {
  const { rows } = await sql<{ key: Buffer }>`select request_key as key from certificate
    where request_key = any(array(select decode(one, 'hex') from unnest(${keys.map(hexOf)}::text[]) as one))`.execute(
    db,
  )
  return new Set(rows.map(({ key }) => hexOf(key)))
}

/** Those of the keys (SubjectPublicKeyInfo, DER) that any certificate or authority has: SHA-256, in hex. */
export async function certifiedKeys(db: Db, spkis: readonly Buffer[]): Promise<Set<string>> {
  const hashes = spkis.map(spkiHash)
  const keys = spkis.map(hexOf)
  const { rows } = await sql<{ key: Buffer }>`select distinct spki_sha256 as key from certificate
    where spki_sha256 = any(array(select decode(one, 'hex') from unnest(${hashes.map(hexOf)}::text[]) as one))
    union all select sha256(key) from (select decode(one, 'hex') as key from unnest(${keys}::text[]) as one) as given
    where exists (select from authority where position(key in certificate) > 0)`.execute(db)
  return new Set(rows.map(({ key }) => hexOf(key)))
}

/** Those of the devices that any certificate was begun for. */
export async function devicesWithCertificates(
  db: Db,
  deviceIds: readonly string[],
): Promise<Set<string>> {
  if (deviceIds.length === 0) return new Set()
  const rows = await db
    .selectFrom('certificate')
    .select('device_id')
    .distinct()
    .where('device_id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .execute()
  return new Set(rows.flatMap((row) => row.device_id ?? []))
}

/** Intents of first certificates: everything that later steps write is empty. */
export async function insertFirstPending(tx: Tx, rows: readonly CertificateRow[]): Promise<void> {
  const of = <T>(pick: (row: CertificateRow) => T) => rows.map(pick)
  await sql`insert into certificate (id, authority_id, serial, kind, state, device_id, enrollment_token_id, spki_sha256,
      request_key, tbs, subject, not_before, not_after, crl_shard, created_at)
    select id, authority_id, decode(serial, 'hex'), kind, 'pending', device_id, token_id, decode(spki, 'hex'),
      decode(request_key, 'hex'), decode(tbs, 'hex'), subject, not_before, not_after, crl_shard, created_at
    from unnest(${of(({ id }) => id)}::uuid[], ${of((row) => row.authority_id)}::uuid[],
      ${of(({ serial }) => hexOf(serial))}::text[], ${of(({ kind }) => kind)}::text[],
      ${of((row) => row.device_id)}::uuid[], ${of((row) => row.enrollment_token_id)}::uuid[],
      ${of((row) => hexOf(row.spki_sha256))}::text[], ${of((row) => row.request_key?.toString('hex') ?? null)}::text[],
      ${of(({ tbs }) => hexOf(tbs))}::text[], ${of(({ subject }) => subject)}::text[],
      ${of((row) => row.not_before.toISOString())}::timestamptz[], ${of((row) => row.not_after.toISOString())}::timestamptz[],
      ${of((row) => row.crl_shard)}::int[], ${of((row) => row.created_at.toISOString())}::timestamptz[])
    as one (id, authority_id, serial, kind, device_id, token_id, spki, request_key, tbs, subject, not_before, not_after,
      crl_shard, created_at)`.execute(tx)
}

/** Returns the ids of those that were still pending: they are issued now. */
export async function markManyIssued(
  tx: Tx,
  signed: readonly { id: string; der: Buffer; fingerprint: string }[],
): Promise<Set<string>> {
  const { rows } = await sql<{ id: string }>`update certificate
    set state = 'issued', der = decode(one.der, 'hex'), fingerprint = one.fingerprint
    from unnest(${signed.map(({ id }) => id)}::uuid[], ${signed.map(({ der }) => hexOf(der))}::text[],
      ${signed.map(({ fingerprint }) => fingerprint)}::text[]) as one (id, der, fingerprint)
    where certificate.id = one.id and state = 'pending' returning certificate.id`.execute(tx)
  return new Set(rows.map(({ id }) => id))
}
