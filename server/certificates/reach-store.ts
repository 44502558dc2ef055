import type { Db } from '../db/client.ts'
import { withinReach } from '../db/reach.ts'
import { DomainError } from '../errors.ts'
import type { Reach } from '../protocol/reach.ts'

/**
 * For whoever is limited to groups, a certificate of another device, or of none, is one that does not exist. Free for the whole fleet.
 *
 * @throws DomainError `not-found`
 */
export async function requireCertificate(db: Db, id: string, reach: Reach): Promise<void> {
  if (reach === 'fleet') return
  const row = await db
    .selectFrom('certificate')
    .select('id')
    .where('id', '=', id)
    .where(withinReach('certificate.device_id', reach))
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such certificate', { certificateId: id })
}
