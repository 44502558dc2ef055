import { sql } from 'kysely'

import type { Db } from '../db/client.ts'

export interface Unused {
  id: string
  device_id: string | null
  replaces_id: string | null
}

/**
 * Certificates that were issued and never used, whose predecessor is still good though the overlap that the profile grants is over.
 * Oldest first. A profile that grants no overlap leaves the old one alone.
 */
export async function listOverlapsEnded(db: Db, now: Date, limit: number): Promise<Unused[]> {
  return await db
    .selectFrom('certificate as successor')
    .innerJoin('certificate as replaced', 'replaced.id', 'successor.replaces_id')
    .innerJoin('device', 'device.id', 'successor.device_id')
    .innerJoin('est_policy', 'est_policy.profile_id', 'device.enrollment_profile_id')
    .select(['successor.id', 'successor.device_id', 'successor.replaces_id'])
    .where('successor.state', '=', 'issued')
    .where('successor.not_after', '>', now)
    .where('replaced.state', '=', 'issued')
    .where('est_policy.overlap_days', 'is not', null)
    .where(
      sql<boolean>`successor.created_at + make_interval(days => est_policy.overlap_days) <= ${now}`,
    )
    .orderBy('successor.created_at')
    .orderBy('successor.id')
    .limit(limit)
    .execute()
}
