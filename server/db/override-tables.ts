import type { Generated } from 'kysely'

/** An operator's word over the owner's, on one managed device (updates.md §7.2). */
export interface UpdateOverrideTable {
  id: string
  deployment_id: string
  reason: string
  until: Date
  /** Two, or as many as the policy wants; none is who asked for it. */
  approved_by: Generated<string[]>
  /** Whose voice each of them was, in the same order. */
  approver_voices: Generated<string[]>
  created_by: string
  author_voice: string
  /** Until when others have to have agreed, by the policy of when it was asked for; null for those from before. */
  approve_until: Date | null
  created_at: Date
  approved_at: Date | null
  revoked_by: string | null
  revoked_at: Date | null
}
