import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import type { CertificateTable, DeviceTable } from '../db/schema.ts'

export interface LapsedRow {
  id: string
  state: CertificateTable['state']
  der: Buffer | null
  not_after: Date
  device_id: string
  device_state: DeviceTable['state']
  enrollment_profile_id: string | null
  /** Of the authority that issued it, DER. */
  issuer: Buffer
}

/** The record of a device certificate, by SHA-256 of its DER in lower hex. */
export async function findLapsed(db: Db, fingerprint: string): Promise<LapsedRow | undefined> {
  return await db
    .selectFrom('certificate')
    .innerJoin('device', 'device.id', 'certificate.device_id')
    .innerJoin('authority', 'authority.id', 'certificate.authority_id')
    .select([
      'certificate.id',
      'certificate.state',
      'certificate.der',
      'certificate.not_after',
      'device.id as device_id',
      'device.state as device_state',
      'device.enrollment_profile_id',
      'authority.certificate as issuer',
    ])
    .where('certificate.fingerprint', '=', fingerprint)
    .where('certificate.kind', '=', 'device')
    .executeTakeFirst()
}

/** How many successors a certificate was given since then. */
export async function countSuccessors(db: Db, certificateId: string, since: Date): Promise<number> {
  const row = await db
    .selectFrom('certificate')
    .select(sql<number>`count(*)::int`.as('count'))
    .where('replaces_id', '=', certificateId)
    .where('created_at', '>', since)
    .executeTakeFirstOrThrow()
  return row.count
}

export async function findReplaced(
  db: Db,
  id: string,
): Promise<{ spki_sha256: Buffer; not_after: Date } | undefined> {
  return await db
    .selectFrom('certificate')
    .select(['spki_sha256', 'not_after'])
    .where('id', '=', id)
    .executeTakeFirst()
}
