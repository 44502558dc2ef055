import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { voicesOfActors } from '../db/voice.ts'
import { DomainError } from '../errors.ts'
import { stoppableStates } from '../protocol/deployment.ts'
import {
  addApprover,
  findOverride,
  insertOverride,
  lockOverridable,
  openOverride,
  type Overridable,
  type Override,
  revokeOverride,
} from './override-store.ts'
import { wakeDevices } from './wake.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'bus'>

interface By {
  actor: string
  requestId: string
}

export interface AskForOverride extends By {
  id: string
  deploymentId: string
  reason: string
  until: Date
}

/** Nobody's word is over an owner's for longer than this at a time. */
const longestMs = 30 * 86_400_000

/**
 * Asks that a security update be installed although its owner put it off or opted out (updates.md §7.2). It is in force once
 * two others approved it. The same id again gives the same override.
 *
 * @throws DomainError `conflict` on a device that was not enrolled as managed, or that is past it; `invalid-request` for `until`
 */
export async function askForOverride(ctx: Deps, command: AskForOverride): Promise<Override> {
  const { id, deploymentId, reason, until, actor, requestId } = command
  const now = ctx.clock.now()
  return await inTransaction(ctx.db, async (tx) => {
    const existing = await findOverride(tx, id)
    if (existing) return existing
    mustBeOverridable(await lockOverridable(tx, deploymentId))
    mustBeSoon(until, now)
    await makeRoom(tx, deploymentId, now)
    const row = { id, deployment_id: deploymentId, reason, until, created_by: actor }
    const override = await insertOverride(tx, { ...row, created_at: now })
    const facts = { overrideId: id, reason, until: until.toISOString() }
    const entry = { at: now, actor, action: 'override.ask', subject: deploymentId, facts }
    await recordAudit(tx, { ...entry, requestId })
    return override
  })
}

export interface ActOnOverride extends By {
  overrideId: string
  action: 'approve' | 'revoke'
}

/**
 * One more word for it, or the end of it. `conflict` when its author approves, when somebody does so twice, by whatever key, and when its time
 * is over or the device is past it.
 */
export async function actOnOverride(ctx: Deps, command: ActOnOverride): Promise<Override> {
  const { overrideId, action, actor, requestId } = command
  const now = ctx.clock.now()
  const { override, deviceId } = await inTransaction(ctx.db, async (tx) => {
    const before = await findOverride(tx, overrideId)
    if (!before) throw new DomainError('not-found', 'No such override', { overrideId })
    const deployment = await lockOverridable(tx, before.deployment_id)
    const after =
      action === 'approve'
        ? await approve(tx, { before, deployment, actor, now })
        : await revokeOverride(tx, overrideId, { by: actor, now })
    const facts = { overrideId, approvedBy: after.approved_by, inForce: isInForce(after, now) }
    const entry = { at: now, actor, action: `override.${action}`, subject: deployment.id, facts }
    await recordAudit(tx, { ...entry, requestId })
    return { override: after, deviceId: deployment.device_id }
  })
  // It is signed into what the device is told, or no longer.
  await wakeDevices(ctx, [deviceId])
  return override
}

export function isInForce({ approved_at, revoked_at, until }: Override, now: Date): boolean {
  return approved_at !== null && revoked_at === null && until > now
}

interface Approval {
  before: Override
  deployment: Overridable
  actor: string
  now: Date
}

async function approve(tx: Tx, { before, deployment, actor, now }: Approval): Promise<Override> {
  const { id: overrideId, created_by, approved_by, revoked_at, until } = before
  const refuse = (why: string): never => {
    throw new DomainError('conflict', why, { overrideId })
  }
  mustBeOverridable(deployment)
  if (revoked_at !== null) refuse('It was taken back; ask for a new one')
  if (until <= now) refuse('Its time is over; ask for a new one')
  const voices = await voicesOfActors(tx, [actor, created_by, ...approved_by])
  const own = voices.get(actor)
  if (voices.get(created_by) === own) {
    refuse('Whoever asked for it does not approve it: two others do')
  }
  if (approved_by.some((one) => voices.get(one) === own)) {
    refuse('You approved it already: somebody else has to')
  }
  if (approved_by.length >= 2) refuse('It is approved already')
  return await addApprover(tx, before, { approver: actor, now })
}

function mustBeOverridable({ id: deploymentId, state, class: kind, managed }: Overridable): void {
  const refuse = (why: string): never => {
    throw new DomainError('conflict', why, { deploymentId, state })
  }
  if (!managed) {
    refuse(
      'The owner of this device decides, and nobody else: it was not enrolled as managed. It can be told again by a new advisory',
    )
  }
  if (kind !== 'security') refuse('Only security updates can be decided over an owner')
  if (!stoppableStates.includes(state)) refuse(`The update is ${state}: there is nothing to decide`)
}

function mustBeSoon(until: Date, now: Date): void {
  const leftMs = until.getTime() - now.getTime()
  if (leftMs > 0 && leftMs <= longestMs) return
  throw new DomainError('invalid-request', 'until must be within the next 30 days', { at: 'until' })
}

/** One at a time: an open one is named, one whose time is over makes room. */
async function makeRoom(tx: Tx, deploymentId: string, now: Date): Promise<void> {
  const open = await openOverride(tx, deploymentId)
  if (!open) return
  if (open.until <= now) {
    await revokeOverride(tx, open.id, { by: 'system', now })
    return
  }
  throw new DomainError('conflict', 'There is an override already: approve it or take it back', {
    overrideId: open.id,
  })
}
