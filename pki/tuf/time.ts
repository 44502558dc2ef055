import type { Instant } from './types.ts'

/** An instant as metadata writes it: whole seconds, UTC, 20 characters. */
export function toInstant(at: Date): Instant {
  return `${at.toISOString().slice(0, 19)}Z`
}

/** The later of two instants, either of which may be unknown. They compare as strings. */
export function laterOf(a: Instant, b: Instant | undefined): Instant {
  return b !== undefined && b > a ? b : a
}
