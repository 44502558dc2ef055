import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { type DeploymentState, stoppableStates } from '../protocol/deployment.ts'
import { stopIfFailing } from '../rollouts/drive.ts'
import { countKinds } from './code-counts.ts'
import {
  lockCancelled,
  lockGone,
  lockOverdue,
  lockUnanswered,
  lockWithdrawn,
  lockWithdrawnBack,
  lockWithdrawnSteps,
} from './end-store.ts'
import { type Change, type Deployment, saveChanges } from './store.ts'
import { tellEnds } from './tell-ends.ts'
import { wakeDevices } from './wake.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'bus' | 'metrics' | 'log'>

const batchSize = 500

/**
 * How long a started deployment may say nothing (rollouts.md §7), by our clock; then it is `lost`, which counts as a
 * failure until the device speaks again. States in which it is the owner's turn have no limit.
 */
export const limits: Readonly<Partial<Record<DeploymentState, number>>> = {
  accepted: hours(24),
  downloading: hours(24),
  verified: hours(2),
  // The longest wait for a weekly window, and a day.
  waiting_window: hours(8 * 24),
  installing: hours(2),
  installed: hours(0.5),
  rebooting: hours(0.5),
  testing: hours(0.5),
  // The longest pause before another try is a few hours.
  failed: hours(24),
}

function hours(n: number): number {
  return n * 3_600_000
}

/** Takes back a batch of what rollouts have open that a person cancelled or a rule ended. Says whether there may be more. */
export async function endCancelled(ctx: Deps): Promise<boolean> {
  return await endBatch(ctx, lockCancelled, (row) =>
    row.rollout_state === 'failed'
      ? stop(row, 'cancelled', 'engine', 'rollout-failed')
      : stop(row, 'cancelled', 'operator', null),
  )
}

/** Takes back a batch of what devices have open of withdrawn releases; what is being installed comes to its own end. */
export async function endWithdrawn(ctx: Deps): Promise<boolean> {
  const end = (row: Deployment) => stop(row, 'cancelled', 'engine', 'release-withdrawn')
  const ofRollouts = await endBatch(ctx, lockWithdrawn, end)
  const back = await endBatch(ctx, lockWithdrawnBack, end)
  return (await endBatch(ctx, lockWithdrawnSteps, end)) || back || ofRollouts
}

/**
 * Ends a batch of what devices have open that were revoked or retired: `expired` where nothing was written yet, `lost`
 * after that. A disabled device keeps its deployment: it may come back.
 */
export async function endGone(ctx: Deps, deviceIds: readonly string[] | 'all'): Promise<boolean> {
  return await endBatch(
    ctx,
    (tx, limit) => lockGone(tx, deviceIds, limit),
    (row) =>
      stoppableStates.includes(row.state)
        ? stop(row, 'expired', 'engine', 'device-gone')
        : stop(row, 'lost', 'engine', 'device-gone'),
  )
}

/** Gives up on a batch of deployments past their limit: `timeout` when the device is in contact, else `dark`. */
export async function endOverdue(ctx: Deps): Promise<boolean> {
  return await endBatch(
    ctx,
    (tx, limit, now) => lockOverdue(tx, limits, now, limit),
    (row) => stop(row, 'lost', 'engine', row.dark ? 'dark' : 'timeout'),
  )
}

/** So long a device that was met may take to acknowledge its offer (rollouts.md §7). */
export const unansweredMs = hours(24)

/**
 * Takes back a batch of offers that were never acknowledged: they free their slots and are in no share. The device is met again,
 * and is given the update anew, once it is in contact: whatever it began meanwhile without a word ends in the new one.
 */
export async function endUnanswered(ctx: Deps): Promise<boolean> {
  return await endBatch(
    ctx,
    (tx, limit, now) => lockUnanswered(tx, new Date(now.getTime() - unansweredMs), limit),
    (row) => stop(row, 'expired', 'engine', 'unanswered'),
  )
}

async function endBatch<R extends Deployment>(
  ctx: Deps,
  find: (tx: Tx, limit: number, now: Date) => Promise<R[]>,
  end: (row: R) => Change,
): Promise<boolean> {
  const now = ctx.clock.now()
  const ended = await inTransaction(ctx.db, async (tx) => {
    const changes = (await find(tx, batchSize, now)).map(end)
    await saveChanges(tx, changes, now)
    await countKinds(tx, changes)
    await tellEnds(tx, changes, now)
    return changes
  })
  for (const { after } of ended) ctx.metrics.deploymentsMoved.inc({ state: after.state })
  // Their director targets are empty now.
  await wakeDevices(ctx, [...new Set(ended.map(({ after }) => after.device_id))])
  const lost = ended.filter(({ after }) => after.state === 'lost')
  await stopIfFailing(ctx, [...new Set(lost.map(({ after }) => after.rollout_id))])
  return ended.length === batchSize
}

function stop(
  before: Deployment,
  state: 'cancelled' | 'expired' | 'lost',
  actor: 'operator' | 'engine',
  code: string | null,
): Change {
  const after = { ...before, state, code, detail: null, progress: null }
  const step = { code, detail: null, reported_at: null }
  return { before, after, steps: [{ from_state: before.state, to_state: state, actor, ...step }] }
}
