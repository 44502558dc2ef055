import type { Actor } from '../http/access.ts'
import { reachOf } from '../http/access.ts'
import type { ApprovalKind } from '../protocol/approvals.ts'
import { approvalKinds } from '../protocol/approvals.ts'
import type { Permission } from '../protocol/permissions.ts'
import { coversGroup, type Reach } from '../protocol/reach.ts'

type Rights = Pick<Actor, 'grants'>

/** Whoever may do it himself may agree that another one does. */
export const deciding: Readonly<Record<ApprovalKind, Permission>> = {
  publication: 'releases:publish',
  'rollout-start': 'rollouts:approve',
  override: 'deployments:override',
  'group-disable': 'groups:disable',
  'role-change': 'operators:manage',
}

const reading: Readonly<Record<ApprovalKind, Permission>> = {
  publication: 'releases:read',
  'rollout-start': 'rollouts:read',
  override: 'deployments:read',
  'group-disable': 'groups:read',
  'role-change': 'operators:read',
}

/** Which kinds somebody sees, and of which groups. Who may do what is for those who are limited to no group. */
export function readableBy(actor: Rights): ReadonlyMap<ApprovalKind, Reach> {
  return new Map(
    approvalKinds.flatMap((kind): [ApprovalKind, Reach][] => {
      const reach = reachOf(actor, reading[kind])
      if (reach === undefined || (kind === 'role-change' && reach !== 'fleet')) return []
      return [[kind, reach]]
    }),
  )
}

/** What belongs to no group is decided by those whose permission is limited to none. */
export function mayDecide(
  actor: Rights,
  { kind, group_id }: { kind: ApprovalKind; group_id: string | null },
): boolean {
  const reach = reachOf(actor, deciding[kind])
  if (reach === undefined) return false
  return group_id === null ? reach === 'fleet' : coversGroup(reach, group_id)
}
