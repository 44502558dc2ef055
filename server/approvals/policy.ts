import { voicesWith } from '../access/holders.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Actor } from '../http/access.ts'
import { type ApprovalKind, approvalKinds } from '../protocol/approvals.ts'
import { withConsent } from './consent.ts'
import { deciding } from './rights.ts'
import { findPolicy, listPolicies, type Policy, setPolicy } from './store.ts'

export const defaultExpiresHours = 24

export interface KindPolicy {
  kind: ApprovalKind
  needed: number
  expiresHours: number
  changedBy: string | null
  changedAt: Date | null
}

/** One for each kind. */
export async function policies(db: Db): Promise<KindPolicy[]> {
  const set = new Map((await listPolicies(db)).map((policy) => [policy.kind, policy]))
  return approvalKinds.map((kind) => viewed(kind, set.get(kind)))
}

/**
 * Says how many others have to agree to a kind of thing. That is itself a change of who may do what, and needs what such a change needs.
 *
 * @throws DomainError `approval-needed`; `conflict` when there are not so many who could agree
 */
export async function changePolicy(
  ctx: Pick<Context, 'db' | 'clock'>,
  command: { kind: ApprovalKind; needed: number; expiresHours: number; by: Actor },
): Promise<KindPolicy> {
  const { kind, needed, expiresHours, by } = command
  const now = ctx.clock.now()
  const asked = { needed, expiresHours }
  const intent = { kind: 'role-change', subject: `policy ${kind}`, asked, by } as const
  return await withConsent(ctx, intent, async (consent) => {
    return await inTransaction(ctx.db, async (tx) => {
      const before = viewed(kind, await findPolicy(tx, kind))
      const { needed: neededBefore, expiresHours: expiresBefore } = before
      if (neededBefore === needed && expiresBefore === expiresHours) return before
      await mustBeEnough(tx, { kind, needed, now })
      const from = { needed: neededBefore, expiresHours: expiresBefore }
      const agreed = await consent(tx, from)
      const policy: Policy = {
        kind,
        needed,
        expires_hours: expiresHours,
        changed_by: by.id,
        changed_at: now,
      }
      await setPolicy(tx, policy)
      await recordAudit(tx, {
        at: now,
        actor: by.id,
        action: 'approval-policy.set',
        subject: kind,
        facts: { from, to: asked, ...agreed },
        requestId: by.requestId,
      })
      return viewed(kind, policy)
    })
  })
}

/** Or nobody could ever do it again, nor change the policy. */
async function mustBeEnough(
  db: Db,
  { kind, needed, now }: { kind: ApprovalKind; needed: number; now: Date },
): Promise<void> {
  if (needed === 0) return
  const people = await voicesWith(db, deciding[kind], now)
  if (people > needed) return
  throw new DomainError(
    'conflict',
    `Only ${people} may decide on this (${deciding[kind]}), and it takes its author and ${needed} others: give more people the permission first. Keys of one owner are one person`,
    { people, needed },
  )
}

function viewed(kind: ApprovalKind, policy: Policy | undefined): KindPolicy {
  return {
    kind,
    needed: policy?.needed ?? 0,
    expiresHours: policy?.expires_hours ?? defaultExpiresHours,
    changedBy: policy?.changed_by ?? null,
    changedAt: policy?.changed_at ?? null,
  }
}
