import type { Failures } from '../db/release-fit.ts'

const dayMs = 86_400_000
/** Tries of all deployments within a day (rollouts.md §7). */
const mostTries = 5

export interface Penalty {
  /** No new offers before that. */
  until: Date
  why: 'failed' | 'tries'
}

/** Is a device to be left alone for a day after its deployment failed, or after five tries within one? Pure. */
export function penaltyOf({ failed_at, tries }: Failures, now: Date): Penalty | undefined {
  const byFailure = failed_at === null ? 0 : failed_at.getTime() + dayMs
  const byTries = lastOfTooMany(tries)
  const endAt = Math.max(byFailure, byTries)
  if (endAt <= now.getTime()) return undefined
  return { until: new Date(endAt), why: byFailure >= byTries ? 'failed' : 'tries' }
}

/** A day after the newest try that was the fifth within a day; 0 when there were never so many. `tries` are newest first. */
function lastOfTooMany(tries: readonly number[]): number {
  const last = tries.find((at, n) => {
    const first = tries[n + mostTries - 1]
    return first !== undefined && (at - first) * 1_000 < dayMs
  })
  return last === undefined ? 0 : Math.round(last * 1_000) + dayMs
}
