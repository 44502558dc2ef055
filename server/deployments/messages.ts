import type { Context } from '../context.ts'
import { type AfterCommit, message } from '../mqtt/message.ts'
import { executedStates } from '../protocol/deployment.ts'
import { Choice, Report } from '../protocol/messages.ts'
import { stopIfFailing } from '../rollouts/drive.ts'
import { meetDevices } from '../rollouts/meet.ts'
import { storeChoices } from './choice.ts'
import { notStartedAmong } from './end-store.ts'
import { type CheckedReport, checkProof } from './report-proof.ts'
import { storeReports } from './report.ts'
import { isOpen } from './steps.ts'
import type { Change } from './store.ts'
import { type Commit, sendCommits, wakeDevices } from './wake.ts'

export const deploymentMessages = [
  message<CheckedReport>({
    leaf: 'report',
    // A proof by a post-quantum key takes most of it.
    maxBytes: 12_288,
    body: Report,
    prepare: checkProof,
    store: async ({ tx, messages, now }) => {
      return afterwards(await storeReports(tx, messages, now))
    },
  }),

  message({
    leaf: 'choice',
    maxBytes: 1_024,
    body: Choice,
    store: async ({ tx, messages, now }) => {
      const { changes, refreshOf, events } = await storeChoices(tx, messages, now)
      return afterwards({ changes, commits: [], events, refreshOf })
    },
  }),
]

interface Stored {
  changes: readonly Change[]
  commits: readonly Commit[]
  events: readonly { source: 'server' | 'device'; severity: 'info' | 'warning' | 'critical' }[]
  refreshOf: readonly string[]
}

function afterwards(stored: Stored): AfterCommit {
  return async (ctx) => await afterReports(ctx, stored)
}

/** What follows from reports and choices that are stored: counted, answered, and the rollout looked at. */
export async function afterReports(
  ctx: Context,
  { changes, commits, events, refreshOf }: Stored,
): Promise<void> {
  for (const { source, severity } of events) ctx.metrics.securityEvents.inc({ source, severity })
  for (const { before, after } of changes) {
    if (before.state !== after.state) ctx.metrics.deploymentsMoved.inc({ state: after.state })
  }
  await sendCommits(ctx, commits)
  await wakeDevices(ctx, refreshOf)
  const failed = changes.filter(
    ({ after }) => isFailure(after.state) || after.state === 'opted_out',
  )
  await stopIfFailing(ctx, [...new Set(failed.map(({ after }) => after.rollout_id))])
  await offerNext(ctx, changes)
}

function isFailure(state: Change['after']['state']): boolean {
  return state !== 'succeeded' && (executedStates as readonly string[]).includes(state)
}

/**
 * A device that has ended one deployment may have been waiting for another; and so may one whose owner put it off or wants
 * none of it, for it is told of one at a time (director/store.ts).
 */
async function offerNext(ctx: Context, changes: readonly Change[]): Promise<void> {
  const over = changes.filter(({ after: { state } }) => {
    return !isOpen(state) || state === 'postponed' || state === 'opted_out'
  })
  if (over.length === 0) return
  const ended = over.filter(({ after }) => !isOpen(after.state)).map(({ after }) => after.device_id)
  const met = ended.length > 0 ? await meetDevices(ctx, [...new Set(ended)]) : []
  const deviceIds = [...new Set(over.map(({ after }) => after.device_id))]
  const waiting = await notStartedAmong(ctx.db, deviceIds)
  await wakeDevices(ctx, [...new Set([...met, ...waiting])])
}
