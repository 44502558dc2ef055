import type { Db } from '../db/client.ts'
import { type DeploymentState, executedStates } from '../protocol/deployment.ts'
import type { Gate, GateFacts, Verdicts } from './gate.ts'
import { type Count, countsOf, type Phase, phasesOf, type Rollout } from './store.ts'

export type StateCounts = Partial<Record<DeploymentState, number>>

export interface PhaseProgress {
  no: number
  percent: number | null
  count: number | null
  cohortId: string | null
  seenWithinS: number | null
  rate: unknown
  admitted: number
  gate: Gate
  openedAt: Date | null
  counts: StateCounts
  verdicts: Verdicts
  /** What the gate asks for beside the verdicts. */
  facts: GateFacts
}

/** How far a rollout is, from the kept counts. */
export interface Progress {
  phases: PhaseProgress[]
  counts: StateCounts
  all: Verdicts
}

export const noProgress: Progress = { phases: [], counts: {}, all: { succeeded: 0, failed: 0 } }

export async function progressOf(db: Db, rollout: Pick<Rollout, 'id'>): Promise<Progress> {
  const progress = (await progressesOf(db, [rollout.id])).get(rollout.id)
  return progress ?? noProgress
}

/** Of several rollouts, in two statements. */
export async function progressesOf(
  db: Db,
  rolloutIds: readonly string[],
): Promise<Map<string, Progress>> {
  if (rolloutIds.length === 0) return new Map()
  const phases = Map.groupBy(await phasesOf(db, rolloutIds), (phase) => phase.rollout_id)
  const counts = Map.groupBy(await countsOf(db, rolloutIds), (count) => count.rollout_id)
  return new Map(rolloutIds.map((id) => [id, progress(phases.get(id) ?? [], counts.get(id) ?? [])]))
}

function progress(phases: readonly Phase[], counts: readonly Count[]): Progress {
  return {
    phases: phases.map((phase) => {
      const own = counts.filter((count) => count.phase_no === phase.no)
      return {
        no: phase.no,
        percent: phase.percent,
        count: phase.count,
        cohortId: phase.cohort_id,
        seenWithinS: phase.seen_within_s,
        rate: phase.rate,
        admitted: phase.admitted,
        gate: {
          successPercent: phase.success_percent,
          minExecuted: phase.min_executed,
          hold: phase.hold,
          soakMs: phase.soak_s * 1_000,
          maxPutOff: phase.max_put_off,
          withinMs: phase.within_s === null ? null : phase.within_s * 1_000,
        },
        openedAt: phase.opened_at,
        counts: byState(own),
        verdicts: verdictsOf(own),
        facts: factsOf(phase, byState(own)),
      }
    }),
    counts: byState(counts),
    all: verdictsOf(counts),
  }
}

function factsOf(phase: Phase, counts: StateCounts): GateFacts {
  return {
    openedAt: phase.opened_at,
    metAt: phase.met_at,
    heldAt: phase.held_at,
    met: metIn(counts),
    putOff: (counts.postponed ?? 0) + (counts.opted_out ?? 0),
  }
}

/** Devices that were met and not taken back. */
export function metIn(counts: StateCounts): number {
  const all = Object.values(counts).reduce((total, count) => total + count, 0)
  return all - (counts.cancelled ?? 0) - (counts.superseded ?? 0) - (counts.expired ?? 0)
}

function byState(counts: readonly Count[]): StateCounts {
  const sums: StateCounts = {}
  for (const { state, n } of counts) sums[state] = (sums[state] ?? 0) + n
  return sums
}

function verdictsOf(counts: readonly Count[]): Verdicts {
  let succeeded = 0
  let failed = 0
  for (const { state, n } of counts) {
    if (state === 'succeeded') succeeded += n
    else if ((executedStates as readonly DeploymentState[]).includes(state)) failed += n
  }
  return { succeeded, failed }
}
