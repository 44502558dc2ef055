import type { WindowFacts } from '../db/window-facts.ts'
import { planOf } from './window-facts.ts'
import type { Opening } from './window.ts'

/** May a device be offered a release now; until when; and when again, if it ever may. */
export interface WindowVerdict {
  open: boolean
  /** When the opening ends in which the device may; null when it does not end, or while it may not. */
  until: Date | null
  /** While it may not: from when on it may; null for never. */
  next: Date | null
}

const hourMs = 3_600_000
/** What is thought of a release that too few devices have installed. */
const unknownNeedMs = 15 * 60_000
/** An opening that is too short is passed over, so many times. */
const maxPassedOver = 100

/**
 * Judges one device (rollouts.md §8). `bucket` is its place in the rollout: it may begin that much later than the window opens, and
 * not when too little time is left.
 */
export function windowVerdict(facts: WindowFacts, bucket: number, now: Date): WindowVerdict {
  const plan = planOf(facts)
  if (plan.isAlways) return { open: true, until: null, next: null }
  const at = now.getTime()
  let from = at
  for (let passed = 0; passed < maxPassedOver; passed++) {
    const opening = plan.from(from)
    if (!opening) break
    const needed = neededIn(opening, facts.neededMs)
    const begin = beginIn(opening, needed, bucket)
    const last = opening.endAt - needed
    if (begin <= at && at <= last) return { open: true, until: dateOf(opening.endAt), next: null }
    if (begin > at && begin <= last) return { open: false, until: null, next: dateOf(begin) }
    from = opening.endAt
  }
  return { open: false, until: null, next: null }
}

/** A figure that was measured is kept to; one that is thought of takes no more than a quarter of a short window. */
function neededIn(opening: Opening, measuredMs: number | null): number {
  return measuredMs ?? Math.min(unknownNeedMs, lengthOf(opening) / 4)
}

/**
 * Devices begin over the first half of an opening, or its first hour, so that none of them is met by all at once; but early enough to
 * come to an end.
 */
function beginIn(opening: Opening, neededMs: number, bucket: number): number {
  if (opening.startAt === -Infinity) return opening.startAt
  const length = lengthOf(opening)
  const spread = Math.min(hourMs, length / 2, Math.max(0, length - neededMs))
  return opening.startAt + Math.floor(spread * placeOf(bucket))
}

function lengthOf({ startAt, endAt }: Opening): number {
  return endAt - startAt
}

/** Of the later bits of the bucket: the first ones say in which phase a device is, and a phase is to be spread as all are. */
function placeOf(bucket: number): number {
  return (bucket * 2 ** 20) % 1
}

/** For people and programs; what has no end has no date. */
function dateOf(at: number): Date | null {
  return Number.isFinite(at) ? new Date(at) : null
}
