import { grantsOf } from '../access/grants.ts'
import { activeAmong } from '../access/holders.ts'
import { overridePolicy } from '../approvals/needed.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { type Actor, reachOf } from '../http/access.ts'
import { stoppableStates } from '../protocol/deployment.ts'
import {
  findOverride,
  insertOverride,
  lockOverridable,
  openOverride,
  type Overridable,
  type Override,
  reachesDevice,
  revokeOverride,
  setApprovers,
  type Word,
} from './override-store.ts'
import { wakeDevices } from './wake.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'bus'>

export interface AskForOverride {
  by: Actor
  id: string
  deploymentId: string
  reason: string
  until: Date
}

/** Nobody's word is over an owner's for longer than this at a time. */
const longestMs = 30 * 86_400_000

/**
 * Asks that a security update be installed although its owner put it off or opted out (updates.md §7.2). It is in force once
 * two others approved it, or as many as the policy wants. The same id again gives the same override.
 *
 * @throws DomainError `conflict` on a device that was not enrolled as managed, or that is past it; `invalid-request` for `until`
 */
export async function askForOverride(ctx: Deps, command: AskForOverride): Promise<Override> {
  const { id, deploymentId, reason, until, by } = command
  const now = ctx.clock.now()
  return await inTransaction(ctx.db, async (tx) => {
    const existing = await findOverride(tx, id)
    if (existing) return existing
    mustBeOverridable(await lockOverridable(tx, deploymentId))
    mustBeSoon(until, now)
    await makeRoom(tx, deploymentId, now)
    const { needed, expiresAt } = await overridePolicy(tx, now)
    const row = { id, deployment_id: deploymentId, reason, until, approve_until: expiresAt }
    const author = { created_by: by.id, author_voice: by.voice, created_at: now }
    const override = await insertOverride(tx, { ...row, ...author })
    const times = { until: until.toISOString(), approveUntil: expiresAt.toISOString() }
    const facts = { overrideId: id, reason, ...times, needed, voice: by.voice }
    const what = { action: 'override.ask', subject: deploymentId, facts }
    await recordAudit(tx, { at: now, actor: by.id, requestId: by.requestId, ...what })
    return override
  })
}

export interface ActOnOverride {
  by: Actor
  overrideId: string
  action: 'approve' | 'revoke'
}

/**
 * One more word for it, or the end of it. `conflict` when its author approves, when a person does so twice, by whatever key, and when
 * its time is over or the device is past it.
 */
export async function actOnOverride(ctx: Deps, command: ActOnOverride): Promise<Override> {
  const { overrideId, action, by } = command
  const now = ctx.clock.now()
  const { override, deviceId } = await inTransaction(ctx.db, async (tx) => {
    const before = await findOverride(tx, overrideId)
    if (!before) throw new DomainError('not-found', 'No such override', { overrideId })
    const deployment = await lockOverridable(tx, before.deployment_id)
    const after =
      action === 'approve'
        ? await approve(tx, { before, deployment, by, now })
        : await revokeOverride(tx, overrideId, { by: by.id, now })
    const given = { approvedBy: after.approved_by, voices: after.approver_voices }
    const facts = { overrideId, ...given, voice: by.voice, inForce: isInForce(after, now) }
    const what = { action: `override.${action}`, subject: deployment.id, facts }
    await recordAudit(tx, { at: now, actor: by.id, requestId: by.requestId, ...what })
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
  by: Actor
  now: Date
}

async function approve(tx: Tx, { before, deployment, by, now }: Approval): Promise<Override> {
  mustBeOverridable(deployment)
  mustBeOpen(before, now)
  const refuse = (why: string): never => {
    throw new DomainError('conflict', why, { overrideId: before.id })
  }
  if (before.author_voice === by.voice)
    refuse('Whoever asked for it does not approve it: others do')
  const standing = await standingWords(tx, { before, deployment, now })
  const isNew = standing.every(({ voice }) => voice !== by.voice)
  const words = isNew ? [...standing, { actor: by.id, voice: by.voice }] : standing
  const { needed } = await overridePolicy(tx, now)
  const isEnough = words.length >= needed
  // Said again, it still counts once; but where fewer are wanted by now, it may be enough.
  if (!isNew && !isEnough) refuse('You approved it already: somebody else has to')
  return await setApprovers(tx, before, { words, approvedAt: isEnough ? now : null })
}

/** The words that still count: of others, each person once, who can still sign in and may still do this to this device. */
async function standingWords(
  tx: Tx,
  { before, deployment, now }: Omit<Approval, 'by'>,
): Promise<Word[]> {
  const { approved_by, approver_voices, author_voice } = before
  const active = await activeAmong(tx, approved_by, now)
  const words: Word[] = []
  for (const [index, actor] of approved_by.entries()) {
    const voice = approver_voices[index] ?? author_voice
    if (voice === author_voice || words.some((word) => word.voice === voice)) continue
    if (!active.has(actor)) continue
    const reach = reachOf({ grants: await grantsOf(tx, actor) }, 'deployments:override')
    if (reach === undefined || !(await reachesDevice(tx, deployment.device_id, reach))) continue
    words.push({ actor, voice })
  }
  return words
}

function mustBeOpen({ id, revoked_at, until, approved_at, approve_until }: Override, now: Date) {
  const refuse = (why: string): never => {
    throw new DomainError('conflict', why, { overrideId: id })
  }
  if (revoked_at !== null) refuse('It was taken back; ask for a new one')
  if (until <= now) refuse('Its time is over; ask for a new one')
  if (approved_at !== null) refuse('It is approved already')
  if (approve_until !== null && approve_until <= now) {
    refuse('The time to approve it is over; ask for a new one')
  }
}

/** Nobody can approve it any more, or it is over: it makes room. */
function isOver({ until, approved_at, approve_until }: Override, now: Date): boolean {
  return until <= now || (approved_at === null && approve_until !== null && approve_until <= now)
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
  if (isOver(open, now)) {
    await revokeOverride(tx, open.id, { by: 'system', now })
    return
  }
  throw new DomainError('conflict', 'There is an override already: approve it or take it back', {
    overrideId: open.id,
  })
}
