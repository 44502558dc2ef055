import { createHash } from 'node:crypto'

import type { Poller } from './device-store.ts'
import type { Shown } from './present.ts'

const shortest = 30
const longest = 23 * 3_600 + 59 * 60 + 59
/** However many poll, a device that has nothing to do comes at least this often, or as often as its product says if that is less. */
const mostStretched = 3_600
/** While an update is open, so that a cancellation is seen. */
const busySeconds = 30
/** While the device shall say something of itself. */
const askedSeconds = 60

/**
 * How long until a device polls again, before jitter: soon when it has something to do or to say; when something becomes possible at a known
 * time, then; twice as often as usual while a rollout runs that may still take it; else what its product says, which is the calm pace.
 */
export function secondsUntilPoll(
  {
    poll_seconds: calm,
    wants_attributes: isAsked,
  }: Pick<Poller, 'poll_seconds' | 'wants_attributes'>,
  { shown, waits, now }: { shown: Shown; waits: boolean; now: Date },
): number {
  if (shown.link !== 'none') return Math.min(busySeconds, calm)
  if (isAsked === true || shown.reason === 'proof-outstanding') return Math.min(askedSeconds, calm)
  const { until } = shown
  if (until) return Math.min(calm, Math.max(shortest, (until.getTime() - now.getTime()) / 1_000))
  return waits ? Math.max(shortest, calm / 2) : calm
}

/**
 * The same in the only form that old clients read (ddi.md §7.10): within a tenth of `seconds` around it, at a place that the device and the
 * hour decide, so that a fleet which was switched on together does not stay together.
 *
 * @param stretch from 1 on: so many times as long in the mean, the further spread the longer, for a device that nothing waits for
 */
export function sleepOf(deviceId: string, seconds: number, now: Date, stretch = 1): string {
  const hour = Math.floor(now.getTime() / 3_600_000)
  const digest = createHash('sha256').update(`${deviceId} ${hour}`).digest()
  const place = digest.readUInt32BE() / 2 ** 32
  // Not cut off at the longest: whoever is, comes back together.
  const bounded = Math.max(1, Math.min(stretch, 1 + (mostStretched / seconds - 1.1) / 2))
  return formatted(Math.round(seconds * (0.9 + place * (0.2 + 2 * (bounded - 1)))))
}

function formatted(seconds: number): string {
  const bounded = Math.min(longest, Math.max(shortest, seconds))
  const parts = [Math.floor(bounded / 3_600), Math.floor(bounded / 60) % 60, bounded % 60]
  return parts.map((part) => String(part).padStart(2, '0')).join(':')
}
