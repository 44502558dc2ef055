import { createHash } from 'node:crypto'

import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { afterReports } from '../deployments/messages.ts'
import { type ReportResult, storeReports } from '../deployments/report.ts'
import { reviveCancelled } from '../deployments/revive.ts'
import { recordMisconduct } from '../events/record.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import {
  type Action,
  findPoller,
  lockAction,
  type Poller,
  setWantsAttributes,
  updateAction,
} from './device-store.ts'
import type { Feedback } from './feedback.ts'
import { cancelMeaningOf, type Meaning, meaningOf } from './meaning.ts'
import { proveSuccess } from './proof.ts'

export interface GivenFeedback {
  deviceId: string
  actionId: number
  feedback: Feedback
  /** As it came: the same again within a minute is no news. */
  body: Buffer
}

const repeatMs = 60_000

/**
 * Stores what a device says about an action (ddi.md §10). Never refuses: whoever is told of an error says the same again for ever. An
 * action that the device does not have is logged and forgotten.
 */
export async function takeFeedback(ctx: Context, given: GivenFeedback): Promise<void> {
  const now = ctx.clock.now()
  const stored = await inTransaction(ctx.db, async (tx) => {
    const action = await lockAction(tx, given.deviceId, given.actionId)
    const poller = action && (await findPoller(tx, given.deviceId))
    if (!action || !poller) return undefined
    const { profile } = poller
    const meaning = meaningOf(given.feedback, { profile, started: action.started_at !== null })
    // Nothing else will ever prove it; said again, it may not have come so far before.
    const mayProve =
      meaning.claims &&
      hasBegun(action) &&
      action.id === poller.action?.id &&
      poller.version_attribute === null
    const isOpen = action.closed_at === null
    if (!isNews(action, given, now))
      return { result: nothing, mayProve: mayProve && action.claimed_at !== null }
    const reports = isOpen ? reportOf(poller, action, meaning) : []
    const result = await storeReports(tx, reports, now)
    await recordWords(tx, action, given, now)
    if (isOpen) await follow(tx, action, meaning, now)
    await noteOddities(tx, given, meaning, now)
    return { result, mayProve: mayProve && (isOpen || action.claimed_at !== null) }
  })
  if (!stored) {
    const { deviceId, actionId } = given
    ctx.log.info({ deviceId, actionId }, 'feedback about no action of the device')
    return
  }
  await afterReports(ctx, stored.result)
  // What the client says after its boot has to do, and is marked.
  if (stored.mayProve) await proveSuccess(ctx, given.deviceId, 'claimed')
}

const nothing: ReportResult = { changes: [], commits: [], events: [], refreshOf: [] }

/** By more than its claim: an old state that speaks of a new action has begun nothing of it. */
function hasBegun({ started_at: startedAt, claimed_at: claimedAt }: Action): boolean {
  return startedAt !== null && (claimedAt === null || startedAt < claimedAt)
}

/** The same that was said a moment ago is none. */
function isNews(action: Action, { body }: GivenFeedback, now: Date): boolean {
  const isSaid = action.last_sha256?.equals(sha256(body)) === true
  return !(isSaid && now.getTime() - (action.last_at?.getTime() ?? 0) < repeatMs)
}

function reportOf(
  { deployment, device_id: deviceId }: Poller,
  action: Action,
  { report }: Meaning,
): { deviceId: string; body: ReportBody }[] {
  if (!report || deployment?.id !== action.deployment_id) return []
  const state = fallenBack(report.state, deployment.state)
  return [{ deviceId, body: { ...report, deploymentId: deployment.id, state, at: notReported } }]
}

type ReportBody = Parameters<typeof storeReports>[1][number]['body']

/** Device time is not trusted here; ours is in the history already. */
const notReported = '1970-01-01T00:00:00Z'

/** A failure after the image was written is one of the new image: the old one runs again. */
function fallenBack(said: DeploymentState, state: DeploymentState): DeploymentState {
  const isWritten = state === 'installed' || state === 'rebooting' || state === 'testing'
  return said === 'failed' && isWritten ? 'rolled_back' : said
}

async function follow(tx: Tx, action: Action, meaning: Meaning, now: Date): Promise<void> {
  await updateAction(tx, action, {
    started_at: action.started_at ?? now,
    ...(meaning.closes ? { closed_at: now } : {}),
    ...(meaning.claims ? { claimed_at: now } : {}),
  })
  // What the booted image says of itself proves the claim, or shows that it was none.
  if (meaning.closes) await setWantsAttributes(tx, action.device_id, true)
}

const mostMessages = 200
const mostMessageBytes = 65_536

/** Newest first; the last 200, or 64 KiB of them. */
async function recordWords(
  tx: Tx,
  action: Action,
  { feedback, body }: GivenFeedback,
  now: Date,
): Promise<void> {
  const before = action.messages as string[]
  const messages = [...feedback.details.toReversed(), ...before].slice(0, mostMessages)
  let bytes = 0
  const kept = messages.filter((message) => (bytes += message.length + 3) <= mostMessageBytes)
  await updateAction(tx, action, {
    messages: JSON.stringify(kept),
    last_sha256: sha256(body),
    last_at: now,
  })
}

async function noteOddities(
  tx: Tx,
  { deviceId, actionId, feedback }: GivenFeedback,
  { event }: Meaning,
  now: Date,
): Promise<void> {
  const unread = feedback.read === 'guessed' || feedback.read === 'unreadable'
  const kinds = [...(event ? [event] : []), ...(unread ? ['ddi-unreadable-feedback'] : [])]
  await recordMisconduct(
    tx,
    now,
    kinds.map((kind) => ({
      source: 'server',
      kind,
      severity: 'warning',
      deviceId,
      facts: { actionId, execution: feedback.execution, finished: feedback.finished },
    })),
  )
}

/**
 * What a device says about a cancellation; settled, the link is gone. The deployment was ended when the operator said so; a device that refuses
 * because it installs already, brings it back, and is shown it until it has said what came of it.
 */
export async function takeCancelFeedback(ctx: Context, given: GivenFeedback): Promise<void> {
  const { deviceId, actionId, feedback } = given
  const meaning = cancelMeaningOf(feedback)
  const now = ctx.clock.now()
  const revived = await inTransaction(ctx.db, async (tx) => {
    const action = await lockAction(tx, deviceId, actionId)
    if (!action || action.closed_at !== null) return undefined
    const poller = await findPoller(tx, deviceId)
    // Said again, or late: what it was about is no longer being cancelled.
    if (!poller?.deployment || !isTakenBack(poller.deployment.state)) return undefined
    await recordWords(tx, action, given, now)
    if (meaning === 'open') return undefined
    const change =
      meaning === 'refused' ? await reviveCancelled(tx, action.deployment_id, now) : undefined
    if (!change) {
      await updateAction(tx, action, { closed_at: now })
      await setWantsAttributes(tx, deviceId, true)
    }
    if (meaning === 'accepted') return undefined
    const facts = { actionId, deploymentId: action.deployment_id, goesOn: change !== undefined }
    const event = { source: 'server', kind: 'ddi-cancel-refused', severity: 'warning' } as const
    const events = await recordMisconduct(tx, now, [{ ...event, deviceId, facts }])
    return change && { ...nothing, changes: [change], events }
  })
  if (revived) await afterReports(ctx, revived)
}

/** `lost` is shown as a cancellation too, when its release was withdrawn (present.ts). */
function isTakenBack(state: DeploymentState): boolean {
  return state === 'cancelled' || state === 'superseded' || state === 'expired' || state === 'lost'
}

/** The device fetched what it shall do: the acknowledgment that starts the clock (ddi.md §10), and where nobody is asked the start. */
export async function takeRetrieval(
  ctx: Context,
  poller: Poller,
  isAgreed: boolean,
): Promise<void> {
  const { deployment, device_id: deviceId } = poller
  if (!deployment) return
  const now = ctx.clock.now()
  const next: DeploymentState[] = [
    ...(deployment.state === 'queued' ? (['offered'] as const) : []),
    ...(isAgreed && isUndecided(deployment.state) ? (['accepted'] as const) : []),
  ]
  if (next.length === 0) return
  const result: ReportResult = await inTransaction(ctx.db, (tx) =>
    storeReports(
      tx,
      next.map((state) => ({
        deviceId,
        body: { deploymentId: deployment.id, state, at: notReported },
      })),
      now,
    ),
  )
  await afterReports(ctx, result)
}

function isUndecided(state: DeploymentState): boolean {
  return state === 'queued' || state === 'offered' || state === 'postponed'
}

/** Bytes of the image went to the device. */
export async function takeFirstByte(
  ctx: Context,
  deviceId: string,
  actionId: number,
): Promise<void> {
  const now = ctx.clock.now()
  const result = await inTransaction(ctx.db, async (tx) => {
    const action = await lockAction(tx, deviceId, actionId)
    if (!action || action.closed_at !== null || action.started_at !== null) return undefined
    await updateAction(tx, action, { started_at: now })
    const body = {
      deploymentId: action.deployment_id,
      state: 'downloading',
      at: notReported,
    } as const
    return await storeReports(tx, [{ deviceId, body }], now)
  })
  if (result) await afterReports(ctx, result)
}

function sha256(body: Buffer): Buffer {
  return createHash('sha256').update(body).digest()
}
