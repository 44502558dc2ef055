const secondMs = 1_000
const minuteMs = 60 * secondMs
const hourMs = 60 * minuteMs

/** How long an event is tried before it is put with the dead letters. */
export const giveUpMs = 72 * hourMs

/** The wait after the first failed attempt, the second, and so on; after that the last one again. */
const steps = [
  5 * secondMs,
  30 * secondMs,
  2 * minuteMs,
  10 * minuteMs,
  30 * minuteMs,
  hourMs,
  2 * hourMs,
  4 * hourMs,
  8 * hourMs,
] as const

/** An endpoint that does not answer is asked at least so often: it must not stay unnoticed for long that it is back. */
const endpointMostMs = 5 * minuteMs

/**
 * How long to wait after so many failed attempts (1 or more): between a half and the whole of the step, so that many that failed together do not come back
 * together.
 *
 * @param random 0 to 1
 */
export function backOffMs(attempts: number, random: number): number {
  const step = steps[Math.min(Math.max(attempts, 1), steps.length) - 1] ?? steps[0]
  return Math.round(step * (0.5 + random / 2))
}

/** The same for an endpoint as a whole. */
export function endpointBackOffMs(failures: number, random: number): number {
  return Math.min(backOffMs(failures, random), endpointMostMs)
}
