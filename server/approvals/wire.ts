import { z } from 'zod'

import { approvalActions, approvalKinds } from '../protocol/approvals.ts'

const kind = z.enum(approvalKinds)

export const ApprovalParams = z.object({ approvalId: z.uuid().lowercase() })
export const PolicyParams = z.object({ kind })

/** `expired` is one that was open until its time was over. */
const states = ['open', 'rejected', 'withdrawn', 'used'] as const
export const approvalFilter = { state: z.enum(states).optional() }

export const ApprovalActionBody = z.strictObject({
  action: z.enum(approvalActions),
  reason: z.string().trim().min(1).max(500).optional(),
})

export const ApprovalView = z.object({
  id: z.uuid(),
  kind,
  /** What it is done to: an id or a name. */
  subject: z.string(),
  groupId: z.uuid().nullable(),
  /** What is asked, as its author said it. */
  asked: z.record(z.string(), z.unknown()),
  /** Who asked, as in the audit log. */
  author: z.string(),
  state: z.enum([...states, 'expired']),
  /** How many others have to agree, by the policy of now. */
  needed: z.int(),
  approvals: z.array(
    z.object({ by: z.string(), reason: z.string().nullable(), at: z.iso.datetime() }),
  ),
  /** Over what is asked and what it is done to: a change of either needs a new approval. */
  hash: z.string(),
  createdAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
  endedAt: z.iso.datetime().nullable(),
})
export type ApprovalView = z.infer<typeof ApprovalView>

export const PolicyBody = z.strictObject({
  /** How many others have to agree; 0 asks nobody. */
  needed: z.int().min(0).max(5),
  /** How long they, and then the author, have. */
  expiresHours: z.int().min(1).max(720).default(24),
})

export const PolicyView = z.object({
  kind,
  needed: z.int(),
  expiresHours: z.int(),
  changedBy: z.string().nullable(),
  changedAt: z.iso.datetime().nullable(),
})
export type PolicyView = z.infer<typeof PolicyView>
