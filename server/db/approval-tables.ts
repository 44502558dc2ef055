/** The two-person rule: migration 0043. */
import type { ApprovalKind } from '../protocol/approvals.ts'

export interface ApprovalPolicyTable {
  kind: ApprovalKind
  needed: number
  expires_hours: number
  changed_by: string
  changed_at: Date
}

export interface ApprovalRequestTable {
  id: string
  kind: ApprovalKind
  subject: string
  group_id: string | null
  hash: Buffer
  asked: unknown
  author: string
  author_voice: string
  state: 'open' | 'rejected' | 'withdrawn' | 'used'
  created_at: Date
  expires_at: Date
  ended_at: Date | null
}

export interface ApprovalVoiceTable {
  request_id: string
  voice: string
  actor: string
  reason: string | null
  at: Date
}
