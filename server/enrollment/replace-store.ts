import type { Db, Tx } from '../db/client.ts'

/** Certificates of a device that are in force, locked, expired ones too, oldest first, at most 50. */
export async function lockIssuedCertificates(
  tx: Tx,
  deviceId: string,
): Promise<{ id: string; spki_sha256: Buffer }[]> {
  return await tx
    .selectFrom('certificate')
    .select(['id', 'spki_sha256'])
    .where('device_id', '=', deviceId)
    .where('state', '=', 'issued')
    .orderBy('created_at')
    .orderBy('id')
    .limit(50)
    .forUpdate()
    .execute()
}

/** Was a certificate of this device for this key revoked? */
export async function isKeyRevoked(db: Db, deviceId: string, spkiSha256: Buffer): Promise<boolean> {
  const row = await db
    .selectFrom('certificate')
    .select('id')
    .where('spki_sha256', '=', spkiSha256)
    .where('device_id', '=', deviceId)
    .where('state', '=', 'revoked')
    .limit(1)
    .executeTakeFirst()
  return row !== undefined
}

/** Is a certificate of this device on hold? Whoever asks for another one meanwhile may be who it was put on hold for. */
export async function hasHeldCertificate(db: Db, deviceId: string): Promise<boolean> {
  const row = await db
    .selectFrom('certificate')
    .select('id')
    .where('device_id', '=', deviceId)
    .where('state', '=', 'held')
    .limit(1)
    .executeTakeFirst()
  return row !== undefined
}
