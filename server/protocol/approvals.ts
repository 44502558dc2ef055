/** What may be made to need more than one person. */
export const approvalKinds = [
  'publication',
  'rollout-start',
  'override',
  'group-disable',
  'role-change',
] as const
export type ApprovalKind = (typeof approvalKinds)[number]

export const approvalActions = ['approve', 'reject', 'withdraw'] as const
export type ApprovalAction = (typeof approvalActions)[number]
