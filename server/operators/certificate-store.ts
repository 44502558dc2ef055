import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { type StoredGrant, storedGrants } from '../db/grants.ts'
import type { OperatorCertificateTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'

export interface OperatorCertificate extends Selectable<OperatorCertificateTable> {
  /** What it may do now. */
  grants: StoredGrant[]
  owner_state: string | null
}

function certificates(db: Db) {
  return db
    .selectFrom('operator_certificate')
    .leftJoin('person', 'person.id', 'operator_certificate.owner_id')
    .selectAll('operator_certificate')
    .select('person.state as owner_state')
    .select(storedGrants(sql`'certificate:' || operator_certificate.id`).as('grants'))
}

export async function findCertificate(
  db: Db,
  fingerprint: Buffer,
): Promise<OperatorCertificate | undefined> {
  return await certificates(db).where('fingerprint', '=', fingerprint).executeTakeFirst()
}

export async function getCertificate(db: Db, id: string): Promise<OperatorCertificate> {
  const row = await certificates(db).where('operator_certificate.id', '=', id).executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such certificate', { certificateId: id })
  return row
}

/** Newest first; `before` is the id of the last one seen. */
export async function listCertificates(
  db: Db,
  { before, limit }: { before: string | undefined; limit: number },
): Promise<OperatorCertificate[]> {
  return await certificates(db)
    .$if(before !== undefined, (query) => query.where('operator_certificate.id', '<', before ?? ''))
    .orderBy('operator_certificate.id', 'desc')
    .limit(limit)
    .execute()
}

/** Stores a certificate unless its id or its fingerprint is there already. Returns whether it was stored now. */
export async function insertCertificate(
  tx: Tx,
  row: Omit<Selectable<OperatorCertificateTable>, 'last_used_at' | 'revoked_at'>,
): Promise<boolean> {
  const inserted = await tx
    .insertInto('operator_certificate')
    .values(row)
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

/** Returns false when it was revoked before. */
export async function markCertificateRevoked(tx: Tx, id: string, now: Date): Promise<boolean> {
  const row = await tx
    .updateTable('operator_certificate')
    .set({ revoked_at: now })
    .where('id', '=', id)
    .where('revoked_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

export async function touchCertificate(
  tx: Tx,
  id: string,
  times: { now: Date; olderThan: Date },
): Promise<void> {
  await tx
    .updateTable('operator_certificate')
    .set({ last_used_at: times.now })
    .where('id', '=', id)
    .where((eb) =>
      eb.or([eb('last_used_at', 'is', null), eb('last_used_at', '<', times.olderThan)]),
    )
    .execute()
}

/** Of these certificates those that open something now, with what they may do. */
export async function openCertificatesAmong(
  db: Db,
  ids: readonly string[],
  now: Date,
): Promise<Pick<OperatorCertificate, 'id' | 'grants'>[]> {
  return await certificates(db)
    .where('operator_certificate.id', 'in', ids)
    .where('revoked_at', 'is', null)
    .where('not_before', '<=', now)
    .where('not_after', '>', now)
    .where((eb) => eb.or([eb('owner_id', 'is', null), eb('person.state', '=', 'active')]))
    .execute()
}

/** Did this server issue it, to a device or anybody? */
export async function isDevices(db: Db, fingerprint: Buffer): Promise<boolean> {
  const row = await db
    .selectFrom('certificate')
    .select('id')
    .where('fingerprint', '=', fingerprint.toString('hex'))
    .executeTakeFirst()
  return row !== undefined
}
