import type { Generated } from 'kysely'

/** An operator's word over the owner's, on one managed device (updates.md §7.2). */
export interface UpdateOverrideTable {
  id: string
  deployment_id: string
  reason: string
  until: Date
  /** Two, and neither is who asked for it. */
  approved_by: Generated<string[]>
  created_by: string
  created_at: Date
  approved_at: Date | null
  revoked_by: string | null
  revoked_at: Date | null
}
