import { durationOf, secondsOf } from '../protocol/duration.ts'
import { type LimitedState, type Limits, limitedStates } from './limits-wire.ts'

/** As they are stored: milliseconds by state, in the order of the states. */
export function limitColumn(limits: Limits): string {
  const given = limitedStates.flatMap((state) => {
    const seconds = secondsOf(limits[state] ?? '')
    return seconds === undefined ? [] : [[state, seconds * 1_000]]
  })
  return JSON.stringify(Object.fromEntries(given))
}

export function limitsView(stored: unknown): Partial<Record<LimitedState, string>> {
  const limits = typeof stored === 'object' && stored !== null ? Object.entries(stored) : []
  return Object.fromEntries(
    limits.flatMap(([state, ms]) =>
      typeof ms === 'number' ? [[state, durationOf(Math.round(ms / 1_000))]] : [],
    ),
  )
}
