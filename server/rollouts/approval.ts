import { neededFor } from '../approvals/needed.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db, Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { voicesOfActors } from '../db/voice.ts'
import { DomainError } from '../errors.ts'
import { countingApprovals, insertApproval } from './approval-store.ts'
import { type Definition, definitionHash, definitionOf, type Stored } from './definition.ts'
import { nextRolloutState } from './state.ts'
import {
  companionsOf,
  getRollout,
  lockRollout,
  moveRollout,
  phasesOf,
  type Rollout,
  sealDefinition,
} from './store.ts'

export interface ApproveCommand {
  rolloutId: string
  actor: string
  requestId: string
  reason?: string | undefined
  /** Of the definition that the caller saw, in hex; needed as soon as anybody has to approve. */
  definitionHash?: string | undefined
}

type Policy = Pick<Context, 'config'>

/**
 * How many people have to approve: what its definition says, and no fewer than the server demands. What the engine itself
 * makes does what the definition of its parent said, which was approved; until a person edits it.
 */
export function approvalsNeeded(
  {
    approvals_needed,
    created_by,
    edited_by,
  }: Pick<Rollout, 'approvals_needed' | 'created_by' | 'edited_by'>,
  least: number,
): number {
  if (created_by === 'system' && edited_by === null) return approvals_needed
  return Math.max(approvals_needed, least)
}

/** How many have to approve any rollout: as configured, and by policy. */
export async function leastApprovals(db: Db, { config }: Policy): Promise<number> {
  return Math.max(config.rolloutApprovals, await neededFor(db, 'rollout-start'))
}

/**
 * One person's word for the present definition of a rollout (rollouts.md §9); a draft with enough of them becomes `approved`.
 * The same person again changes nothing.
 *
 * @throws DomainError `not-allowed` for who made it or edited it last; `conflict` when the definition is not the one that was
 *   seen; `invalid-request` without a hash where approvals are needed; `illegal-transition`
 */
export async function approveRollout(
  ctx: Pick<Context, 'db' | 'clock' | 'config'>,
  command: ApproveCommand,
): Promise<Rollout> {
  const { rolloutId, actor, requestId, reason } = command
  const now = ctx.clock.now()
  return await inTransaction(ctx.db, async (tx) => {
    // Two last voices at once would each count without the other.
    const before = await lockSealed(tx, rolloutId)
    const next = nextRolloutState(before.state, 'approve')
    const needed = approvalsNeeded(before, await leastApprovals(tx, ctx))
    const hash = await presentHash(tx, before)
    mustBeSeen(command, hash, needed)
    if (needed > 0) await mustBeAnother(tx, before, actor)
    const row = { rollout_id: rolloutId, approver: actor, definition_hash: hash }
    const isNew = await insertApproval(tx, { ...row, reason: reason ?? null, at: now })
    const given = await countingApprovals(tx, [rolloutId])
    const isEnough = given.length >= needed
    const moves = before.state === 'draft' && isEnough
    if (!isNew && !moves) return before
    const after = moves ? await moveRollout(tx, before, { state: next }, now) : before
    const facts = {
      from: before.state,
      to: after.state,
      definitionHash: hash.toString('hex'),
      needed,
      given: given.map(({ approver }) => approver),
      ...(reason === undefined ? {} : { reason }),
    }
    const what = { action: 'rollout.approve', subject: rolloutId, facts }
    await recordAudit(tx, { at: now, actor, requestId, ...what })
    return after
  })
}

/**
 * Facts for the audit trail about who vouches for what. Costs nothing where nobody has to.
 *
 * @throws DomainError `not-ready` when people are missing
 */
export async function mustBeApproved(
  db: Db,
  rollout: Rollout,
  policy: Policy,
): Promise<{ definitionHash?: string; approvedBy?: string[] }> {
  const needed = approvalsNeeded(rollout, await leastApprovals(db, policy))
  if (needed === 0) return {}
  const hash = (await presentHash(db, rollout)).toString('hex')
  const given = await countingApprovals(db, [rollout.id])
  if (given.length < needed) {
    const missing = needed - given.length
    throw new DomainError(
      'not-ready',
      `${needed} have to approve this definition and ${given.length} did: ${missing} more, who neither made it nor edited it last`,
      { rolloutId: rollout.id, definitionHash: hash, needed, missing },
    )
  }
  return { definitionHash: hash, approvedBy: given.map(({ approver }) => approver) }
}

/** The definition as it is stored now, with its hash in hex. */
export async function getDefinition(
  db: Db,
  rolloutId: string,
): Promise<{ definition: Definition; definitionHash: string }> {
  const stored = await readStored(db, await getRollout(db, rolloutId))
  return {
    definition: definitionOf(stored),
    definitionHash: definitionHash(stored).toString('hex'),
  }
}

export async function readStored(db: Db, rollout: Rollout): Promise<Stored> {
  const phases = await phasesOf(db, [rollout.id])
  return { rollout, phases, companions: await companionsOf(db, [rollout.id]) }
}

/** Held until the transaction ends; one from before there were hashes gets its own. */
export async function lockSealed(tx: Tx, rolloutId: string): Promise<Rollout> {
  const rollout = await lockRollout(tx, rolloutId)
  if (rollout.definition_hash !== null) return rollout
  return await sealDefinition(tx, rollout.id, await presentHash(tx, rollout))
}

/** Worked out from the rows, so that no word counts for rows that were changed behind the service's back. */
async function presentHash(db: Db, rollout: Rollout): Promise<Buffer> {
  const hash = definitionHash(await readStored(db, rollout))
  if (rollout.definition_hash === null || rollout.definition_hash.equals(hash)) return hash
  throw new DomainError(
    'conflict',
    'The definition is not the one that was made here; make a new rollout',
    { rolloutId: rollout.id, definitionHash: hash.toString('hex') },
  )
}

function mustBeSeen({ definitionHash: seen }: ApproveCommand, hash: Buffer, needed: number): void {
  const present = hash.toString('hex')
  if (seen === undefined && needed > 0) {
    throw new DomainError(
      'invalid-request',
      'Say which definition you approve: definitionHash, as the rollout shows it',
      { at: 'definitionHash', definitionHash: present },
    )
  }
  if (seen !== undefined && seen !== present) {
    throw new DomainError(
      'conflict',
      'The definition changed: look at it again, and approve that one',
      { definitionHash: present },
    )
  }
}

/** Whoever has several keys is still one person. */
async function mustBeAnother(
  db: Db,
  { id, created_by, edited_by }: Rollout,
  actor: string,
): Promise<void> {
  const editor = edited_by ?? created_by
  const voices = await voicesOfActors(db, [actor, created_by, editor])
  const [own, author] = [voices.get(actor), voices.get(created_by)]
  if (own !== author && own !== voices.get(editor)) return
  const what = own === author ? 'made' : 'edited'
  throw new DomainError('not-allowed', `Whoever ${what} it does not approve it: others do`, {
    rolloutId: id,
  })
}
