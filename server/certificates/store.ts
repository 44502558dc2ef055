import { createHash } from 'node:crypto'

import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { CertificateTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import { holdReason, type RevocationReason } from './state.ts'

export type CertificateRow = Selectable<CertificateTable>

export async function findCertificate(db: Db, id: string): Promise<CertificateRow | undefined> {
  return await db.selectFrom('certificate').selectAll().where('id', '=', id).executeTakeFirst()
}

export async function getCertificate(db: Db, id: string): Promise<CertificateRow> {
  const row = await findCertificate(db, id)
  if (!row) throw new DomainError('not-found', 'No such certificate', { certificateId: id })
  return row
}

export async function findByRequestKey(
  db: Db,
  requestKey: Buffer,
): Promise<CertificateRow | undefined> {
  return await db
    .selectFrom('certificate')
    .selectAll()
    .where('request_key', '=', requestKey)
    .executeTakeFirst()
}

export async function findByFingerprint(
  db: Db,
  fingerprint: string,
): Promise<CertificateRow | undefined> {
  return await db
    .selectFrom('certificate')
    .selectAll()
    .where('fingerprint', '=', fingerprint)
    .executeTakeFirst()
}

export type KnownSerial = Pick<
  CertificateRow,
  'serial' | 'state' | 'revoked_at' | 'revocation_reason' | 'created_at'
>

/** What an authority gave out under these serials, in no order; those it never chose are missing. */
export async function findSerials(
  db: Db,
  authorityId: string,
  serials: readonly Buffer[],
): Promise<KnownSerial[]> {
  return await db
    .selectFrom('certificate')
    .select(['serial', 'state', 'revoked_at', 'revocation_reason', 'created_at'])
    .where('authority_id', '=', authorityId)
    .where('serial', 'in', [...serials])
    .execute()
}

/** Newest first. `before` is the id of the last one seen. */
export async function listOfDevice(
  db: Db,
  deviceId: string,
  { before, limit }: { before?: string | undefined; limit: number },
): Promise<CertificateRow[]> {
  let query = db
    .selectFrom('certificate')
    .selectAll()
    .where('device_id', '=', deviceId)
    .where('der', 'is not', null)
  if (before !== undefined) query = query.where('id', '<', before)
  return await query.orderBy('id', 'desc').limit(limit).execute()
}

export async function insertPending(tx: Tx, row: CertificateRow): Promise<void> {
  await tx.insertInto('certificate').values(row).execute()
}

/** Returns undefined when it is not pending any more: somebody else finished or abandoned it. */
export async function markIssued(
  tx: Tx,
  id: string,
  { der, fingerprint }: { der: Buffer; fingerprint: string },
): Promise<CertificateRow | undefined> {
  return await tx
    .updateTable('certificate')
    .set({ state: 'issued', der, fingerprint })
    .where('id', '=', id)
    .where('state', '=', 'pending')
    .returningAll()
    .executeTakeFirst()
}

/** The request key is freed: the same request may be tried again, with another serial. */
export async function markAbandoned(tx: Tx, ids: readonly string[]): Promise<CertificateRow[]> {
  return await tx
    .updateTable('certificate')
    .set({ state: 'abandoned', request_key: null })
    .where('id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .where('state', '=', 'pending')
    .returningAll()
    .execute()
}

export async function listPending(
  db: Db,
  { deviceId, before, limit }: { deviceId?: string; before?: Date; limit: number },
): Promise<CertificateRow[]> {
  let query = db.selectFrom('certificate').selectAll().where('state', '=', 'pending')
  if (deviceId !== undefined) query = query.where('device_id', '=', deviceId)
  if (before !== undefined) query = query.where('created_at', '<', before)
  return await query.orderBy('created_at').limit(limit).execute()
}

/** What a device was given and that still counts: revoked now. What was on hold keeps the date of the hold. */
export async function markRevoked(
  tx: Tx,
  where: { deviceId: string } | { id: string },
  { reason, now }: { reason: RevocationReason; now: Date },
): Promise<CertificateRow[]> {
  const query = tx
    .updateTable('certificate')
    .set((eb) => ({
      state: 'revoked',
      revoked_at: eb.fn.coalesce('revoked_at', eb.val(now)),
      revocation_reason: reason,
      held_state: null,
    }))
    .where('state', 'in', ['issued', 'superseded', 'held'])
  return await (
    'id' in where ? query.where('id', '=', where.id) : query.where('device_id', '=', where.deviceId)
  )
    .returningAll()
    .execute()
}

/** A revoked certificate whose key turns out to be in other hands: the only change to a final revocation. */
export async function markCompromised(tx: Tx, id: string): Promise<CertificateRow | undefined> {
  return await tx
    .updateTable('certificate')
    .set({ revocation_reason: 'keyCompromise' })
    .where('id', '=', id)
    .where('state', '=', 'revoked')
    .where('revocation_reason', '!=', 'keyCompromise')
    .returningAll()
    .executeTakeFirst()
}

export async function markHeld(tx: Tx, id: string, now: Date): Promise<CertificateRow | undefined> {
  return await tx
    .updateTable('certificate')
    .set({
      state: 'held',
      held_state: sql`state`,
      revoked_at: now,
      revocation_reason: holdReason,
    })
    .where('id', '=', id)
    .where('state', 'in', ['issued', 'superseded'])
    .returningAll()
    .executeTakeFirst()
}

/** What it was before the hold, or what it became meanwhile: its successor may have been used. */
export async function markReleased(tx: Tx, id: string): Promise<CertificateRow | undefined> {
  return await tx
    .updateTable('certificate')
    .set({
      state: sql`held_state`,
      held_state: null,
      revoked_at: null,
      revocation_reason: null,
    })
    .where('id', '=', id)
    .where('state', '=', 'held')
    .returningAll()
    .executeTakeFirst()
}

/**
 * Says which revocation number of its authority changed these. After `raiseRevocationRev`, in the same transaction: whoever
 * raises the number next waits, so that numbers become visible in their order.
 */
export async function stampRevocation(tx: Tx, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return
  await sql`update certificate set revocation_rev = authority.revocation_rev from authority
    where authority.id = certificate.authority_id and certificate.id = any(${[...ids]}::uuid[])`.execute(
    tx,
  )
}

/**
 * After `successor` was used: the one it replaces is superseded. After it was issued: others that were issued for the same
 * one and never used are.
 */
export async function markSuperseded(
  tx: Tx,
  successor: { id: string; device_id: string | null; replaces_id: string | null },
  when: 'used' | 'issued',
): Promise<CertificateRow[]> {
  const { id, device_id: deviceId, replaces_id: replaced } = successor
  if (deviceId === null || replaced === null) return []
  return await tx
    .updateTable('certificate')
    // One on hold stays on hold; what it is after its release changes.
    .set({
      state: sql`case when state = 'held' then state else 'superseded' end`,
      held_state: sql`case when state = 'held' then 'superseded' end`,
    })
    .where('device_id', '=', deviceId)
    .where((eb) => eb.or([eb('state', '=', 'issued'), eb('held_state', '=', 'issued')]))
    .where('id', '!=', id)
    .where((eb) =>
      when === 'issued'
        ? eb('replaces_id', '=', replaced)
        : eb.or([eb('id', '=', replaced), eb('replaces_id', '=', replaced)]),
    )
    .returningAll()
    .execute()
}

/**
 * Does a certificate of another device, or of a server, hold this key; or an authority, whatever became of it?
 *
 * @param spki SubjectPublicKeyInfo, DER
 */
export async function isKeyTaken(db: Db, spki: Buffer, deviceId: string): Promise<boolean> {
  const row = await db
    .selectFrom('certificate')
    .select('id')
    .where('spki_sha256', '=', createHash('sha256').update(spki).digest())
    .where((eb) => eb.or([eb('device_id', 'is', null), eb('device_id', '!=', deviceId)]))
    // A dozen rows: their certificates hold the bytes of the key.
    .unionAll(
      db
        .selectFrom('authority')
        .select('id')
        .where(sql<boolean>`position(${spki}::bytea in certificate) > 0`),
    )
    .limit(1)
    .executeTakeFirst()
  return row !== undefined
}

export async function hasEverBeenIssued(db: Db, deviceId: string): Promise<boolean> {
  const row = await db
    .selectFrom('certificate')
    .select('id')
    .where('device_id', '=', deviceId)
    .where('der', 'is not', null)
    .limit(1)
    .executeTakeFirst()
  return row !== undefined
}

/** @throws DomainError `not-found` */
export async function assertDevice(db: Db, deviceId: string): Promise<void> {
  const row = await db
    .selectFrom('device')
    .select('id')
    .where('id', '=', deviceId)
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such device', { deviceId })
}

/** Locks one certificate and tells its state. */
export async function lockState(
  tx: Tx,
  id: string,
): Promise<CertificateTable['state'] | undefined> {
  const row = await tx
    .selectFrom('certificate')
    .select('state')
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst()
  return row?.state
}

export async function countSince(db: Db, deviceId: string, since: Date): Promise<number> {
  const row = await db
    .selectFrom('certificate')
    .select((eb) => eb.fn.countAll().as('count'))
    .where('device_id', '=', deviceId)
    .where('created_at', '>', since)
    .executeTakeFirstOrThrow()
  return Number(row.count)
}
