import type { Rate } from './bounds-wire.ts'

/**
 * Rates as a generic cell rate algorithm: all that is kept is when the next admission would be due if they came evenly ("theoretical
 * arrival time"), so one instant on the rollout holds across processes and restarts. Instants are microseconds since 1970.
 */
export interface Pace {
  /** So many at once, after a pause. */
  burst: number
  everyUs: number
}

const minuteUs = 60_000_000

/**
 * The pace that never has more than `perMinute` in any 60 seconds, both ends included: a burst of a twelfth, and the rest
 * evenly. (Any 60 s hold at most `burst + floor(60 s / every)`, and `every` is above `60 s / (perMinute - burst + 1)`.)
 */
export function paceOf(perMinute: number): Pace {
  const burst = Math.max(1, Math.floor(perMinute / 12))
  return { burst, everyUs: Math.floor(minuteUs / (perMinute - burst + 1)) + 1 }
}

/** The same for bytes, of admissions that may cost `size` each. Where not even one fits into a minute: one each few minutes. */
export function paceOfBytes(bytesPerMinute: number, size: number): Pace {
  const perMinute = Math.floor(bytesPerMinute / Math.max(1, size))
  if (perMinute >= 1) return paceOf(Math.min(perMinute, 1_000_000))
  return { burst: 1, everyUs: Math.ceil((minuteUs * size) / bytesPerMinute) }
}

/** How fast a phase may admit now (rollouts.md §6), as devices a minute. */
export function perMinuteOf(rate: Rate, { admitted, succeeded }: Progress): number {
  if ('perMinute' in rate) return rate.perMinute
  const count = rate.per === 'admitted' ? admitted : succeeded
  const grown = rate.basePerMinute * rate.factor ** Math.floor(count / rate.step)
  return Math.min(rate.maxPerMinute, Math.floor(grown))
}

/** Of the phase. */
interface Progress {
  admitted: number
  succeeded: number
}

/** A clock that was this much ahead and was set right does not hold a rollout up for longer. */
const patienceUs = 2 * minuteUs

/** The instant to go on from; `due` is what was kept, null for a rollout that has admitted nobody. */
function dueFrom(pace: Pace, due: number | null, nowUs: number): number {
  const latest = nowUs + pace.burst * pace.everyUs
  if (due === null || due < nowUs) return nowUs
  // All that a pace ever keeps is `latest`. Much more is from another clock: as after a full burst just now, which is safe.
  return due > latest + patienceUs ? latest : due
}

/** What to keep after `n` more admissions, whether they were due or not. */
export function dueAfter(pace: Pace, due: number | null, nowUs: number, n: number): number {
  return dueFrom(pace, due, nowUs) + n * pace.everyUs
}

/** When the next one may be admitted: not after `nowUs` when it may be now. */
export function openAt(pace: Pace, due: number | null, nowUs: number): number {
  return dueFrom(pace, due, nowUs) - (pace.burst - 1) * pace.everyUs
}
