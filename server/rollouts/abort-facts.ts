import { z } from 'zod'

import type { Db } from '../db/client.ts'
import { usualShare } from './abort-sequential.ts'
import { fleetVerdicts, type KindCount, kindCountsOf } from './abort-store.ts'
import { abortKinds } from './abort-wire.ts'
import { type Judged, type Outcomes, smallPhase } from './abort.ts'
import { metIn, type Progress, type StateCounts } from './progress.ts'
import type { Rollout } from './store.ts'

const kinds = ['succeeded', ...abortKinds] as const
const n = z.int().min(0)
const Base = z.record(z.string(), z.partialRecord(z.enum(kinds), n)).catch({})

/**
 * What the abort rules judge: what devices came to since a person last started or resumed the rollout, who had seen what was
 * before.
 */
export function judgedOf(
  rollout: Pick<Rollout, 'id' | 'phase_no' | 'base_counts' | 'usual_failed'>,
  progress: Progress,
  kindCounts: readonly KindCount[],
): Judged {
  const base = Base.parse(rollout.base_counts)
  const phases = progress.phases.map(({ no, counts }) => ({
    no,
    outcomes: minus(outcomesOf(counts, own(kindCounts, rollout.id, no)), base[String(no)] ?? {}),
    met: metIn(counts),
  }))
  const dark = phases
    .filter(({ met }) => met <= smallPhase)
    .map(({ outcomes }) => outcomes.dark ?? 0)
  return {
    phase: phases.find(({ no }) => no === rollout.phase_no)?.outcomes ?? {},
    all: sum(phases.map(({ outcomes }) => outcomes)),
    darkInSmall: Math.max(0, ...dark),
    usual: rollout.usual_failed,
  }
}

function own(counts: readonly KindCount[], rolloutId: string, no: number): readonly KindCount[] {
  return counts.filter(({ rollout_id, phase_no }) => rollout_id === rolloutId && phase_no === no)
}

function outcomesOf(counts: StateCounts, kindCounts: readonly KindCount[]): Outcomes {
  const outcomes: Outcomes = {}
  for (const state of ['succeeded', 'failed_final', 'rolled_back', 'lost', 'opted_out'] as const) {
    if (counts[state]) outcomes[state] = counts[state]
  }
  for (const { kind, n: count } of kindCounts) outcomes[kind] = count
  return outcomes
}

/** A device that was lost and is back may have left fewer than there were. */
function minus(outcomes: Outcomes, base: Outcomes): Outcomes {
  return Object.fromEntries(
    kinds.map((kind) => [kind, Math.max(0, (outcomes[kind] ?? 0) - (base[kind] ?? 0))]),
  )
}

function sum(all: readonly Outcomes[]): Outcomes {
  return Object.fromEntries(
    kinds.map((kind) => [kind, all.reduce((total, one) => total + (one[kind] ?? 0), 0)]),
  )
}

const historyMs = 90 * 86_400_000

/** What is kept of a rollout when a person starts or resumes it: these have been seen, and do not stop it again. */
export async function baseOf(
  db: Db,
  { id, kind }: Pick<Rollout, 'id' | 'kind'>,
  progress: Progress,
  now: Date,
): Promise<Pick<Rollout, 'base_succeeded' | 'base_failed' | 'base_counts' | 'usual_failed'>> {
  const kindCounts = progress.all.failed > 0 ? await kindCountsOf(db, [id]) : []
  const base = progress.phases.map(({ no, counts }) => [
    no,
    outcomesOf(counts, own(kindCounts, id, no)),
  ])
  // Devices that failed before, or go back, are not what is usual.
  const fleet = kind === 'update' ? await fleetVerdicts(db, since(now)) : undefined
  return {
    base_succeeded: progress.all.succeeded,
    base_failed: progress.all.failed,
    base_counts: JSON.stringify(Object.fromEntries(base)),
    usual_failed: fleet ? usualShare(fleet) : null,
  }
}

function since(now: Date): Date {
  return new Date(now.getTime() - historyMs)
}
