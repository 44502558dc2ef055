import { voicesWith } from '../access/holders.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import type { Actor } from '../http/access.ts'
import { type ApprovalKind, approvalKinds } from '../protocol/approvals.ts'
import type { Consent } from './agreed.ts'
import { withConsent } from './consent.ts'
import { defaultExpiresHours, leastNeeded } from './needed.ts'
import { deciding } from './rights.ts'
import { findPolicy, listPolicies, type Policy, setPolicy } from './store.ts'

export interface KindPolicy {
  kind: ApprovalKind
  needed: number
  expiresHours: number
  changedBy: string | null
  changedAt: Date | null
}

export interface ChangePolicy {
  kind: ApprovalKind
  needed: number
  expiresHours: number
  by: Actor
}

/** One for each kind. */
export async function policies(db: Db): Promise<KindPolicy[]> {
  const set = new Map((await listPolicies(db)).map((policy) => [policy.kind, policy]))
  return approvalKinds.map((kind) => viewed(kind, set.get(kind)))
}

/**
 * Says how many others have to agree to a kind of thing. That is itself a change of who may do what, and needs what such a change needs. Fewer than before
 * takes as many as before too, who may decide on that kind: a rule for two that one person switches off would be none.
 *
 * @throws DomainError `approval-needed`; `conflict` when there are not so many who could agree
 */
export async function changePolicy(
  ctx: Pick<Context, 'db' | 'clock'>,
  command: ChangePolicy,
): Promise<KindPolicy> {
  const { kind, needed, expiresHours, by } = command
  mustNotBeLess(kind, needed)
  const change = { subject: `policy ${kind}`, asked: { needed, expiresHours }, by }
  return await withConsent(
    ctx,
    { ...change, kind: 'role-change' },
    async (agreed) =>
      await withConsent(
        ctx,
        { ...change, kind },
        async (lowered) => await write(ctx, command, { agreed, lowered }),
      ),
  )
}

async function write(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { kind, needed, expiresHours, by }: ChangePolicy,
  consents: { agreed: Consent; lowered: Consent },
): Promise<KindPolicy> {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const before = viewed(kind, await findPolicy(tx, kind))
    if (before.needed === needed && before.expiresHours === expiresHours) return before
    await mustBeEnough(tx, { kind, needed, now })
    const from = { needed: before.needed, expiresHours: before.expiresHours }
    const agreed = await consents.agreed(tx, from)
    const isLower = kind !== 'role-change' && needed < before.needed
    const lowered = isLower ? { lowered: await consents.lowered(tx, from) } : {}
    const times = { expires_hours: expiresHours, changed_at: now }
    const policy: Policy = { kind, needed, changed_by: by.id, ...times }
    await setPolicy(tx, policy)
    await recordAudit(tx, {
      at: now,
      actor: by.id,
      action: 'approval-policy.set',
      subject: kind,
      facts: { from, to: { needed, expiresHours }, ...agreed, ...lowered },
      requestId: by.requestId,
    })
    return viewed(kind, policy)
  })
}

function mustNotBeLess(kind: ApprovalKind, needed: number): void {
  const least = leastNeeded[kind] ?? 0
  if (needed >= least) return
  throw new DomainError(
    'conflict',
    `This takes ${least} others than its author, always: a policy can only ask for more`,
    { needed: least },
  )
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
    needed: Math.max(leastNeeded[kind] ?? 0, policy?.needed ?? 0),
    expiresHours: policy?.expires_hours ?? defaultExpiresHours,
    changedBy: policy?.changed_by ?? null,
    changedAt: policy?.changed_at ?? null,
  }
}
