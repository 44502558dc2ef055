import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { recordEvents, type SecurityEvent } from '../events/record.ts'
import { stopIfFailing } from '../rollouts/drive.ts'
import { type GoneBack, lockGoneBack, type Runs } from './came-back-store.ts'
import { type Change, saveChanges } from './store.ts'
import { tellEnds } from './tell-ends.ts'

const code = 'came-back-old'

/** What to do once it is committed. */
export interface CameBack {
  changes: readonly Change[]
  /** Devices whose success is too fresh for it to be said: the old image may be the one that speaks, before the reboot. */
  tooEarly: readonly string[]
}

/**
 * A success holds only while the old version is not seen again (rollouts.md §12 d): devices that succeeded in a rollout that has not
 * ended, and run something older now that nobody gave them, are `rolled_back`. One statement where there are none.
 *
 * @param runs what devices say of components whose build went down
 * @param settledMs a success has to be so old before the old version speaks against it
 */
export async function endCameBack(
  tx: Tx,
  runs: readonly Runs[],
  now: Date,
  settledMs = 0,
): Promise<CameBack> {
  if (runs.length === 0) return { changes: [], tooEarly: [] }
  const found = await lockGoneBack(tx, runs)
  const isSettled = (row: GoneBack) => now.getTime() - row.changed_at.getTime() >= settledMs
  const back = found.filter(isSettled)
  const changes = back.map(changeOf)
  await saveChanges(tx, changes, now)
  await tellEnds(tx, changes, now)
  await recordEvents(tx, now, back.map(eventOf))
  const tooEarly = found.filter((row) => !isSettled(row)).map((row) => row.device_id)
  return { changes, tooEarly }
}

/** The counts are others now, which may trip a rule. */
export async function afterCameBack(
  ctx: Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>,
  { changes }: CameBack,
): Promise<void> {
  for (const { after } of changes) {
    ctx.metrics.deploymentsMoved.inc({ state: after.state })
    ctx.metrics.securityEvents.inc({ source: 'server', severity: 'warning' })
  }
  await stopIfFailing(ctx, [...new Set(changes.map(({ after }) => after.rollout_id))])
}

function changeOf({ runs_build, ...before }: GoneBack): Change {
  const detail = `runs build ${runs_build.toString()}`
  const step = { code, detail, reported_at: null, actor: 'engine' } as const
  return {
    before,
    after: { ...before, state: 'rolled_back', code, detail },
    steps: [{ ...step, from_state: before.state, to_state: 'rolled_back' }],
  }
}

function eventOf({ id, device_id, state, runs_build }: GoneBack): SecurityEvent {
  const facts = { deploymentId: id, was: state, now: 'rolled_back', code, build: runs_build }
  return {
    source: 'server',
    kind: 'outcome-corrected',
    severity: 'warning',
    deviceId: device_id,
    facts,
  }
}
