import type { WindowFacts } from '../db/window-facts.ts'
import { bucketOf } from '../rollouts/bucket.ts'
import { planOf } from '../rollouts/window-facts.ts'
import { windowVerdict } from '../rollouts/window-place.ts'
import type { DesiredRow } from './store.ts'

/**
 * Of the deployments that each device has open, the first that it may be told of now: an offer that was not answered is taken back
 * while its windows are closed, and comes again (rollouts.md §8). What was begun is carried to its end. One row a device.
 */
export function nextOfEach(rows: readonly DesiredRow[], now: Date): DesiredRow[] {
  const next = new Map<string, DesiredRow>()
  for (const row of rows) {
    const known = next.get(row.deviceId)
    if (known?.deployment) continue
    if (!isHeldBack(row, now)) next.set(row.deviceId, withWindow(row, now))
    else if (!known) next.set(row.deviceId, { ...row, deployment: undefined })
  }
  return [...next.values()]
}

function isHeldBack({ deviceId, deployment }: DesiredRow, now: Date): boolean {
  if (!deployment?.isOffer) return false
  const { windows, seed } = deployment
  return !windowVerdict(windows, bucketOf(seed, deviceId), now).open
}

/** A device knows hours of the day, and its own measure of what is too short. */
const leastMs = 5 * 60_000
const dayMs = 86_400_000

/**
 * What the device itself is told of it, as hours of the day in UTC: the opening that is now or comes next. Blackout days do not
 * count here: an opening that one of them cuts short would be too short for the device, for good.
 */
function withWindow(row: DesiredRow, now: Date): DesiredRow {
  const { deployment } = row
  if (!deployment) return row
  const opening = planOf(withoutBlackouts(deployment.windows)).from(now.getTime())
  if (!opening) return row
  const length = opening.endAt - opening.startAt
  if (length < leastMs || length >= dayMs) return row
  return { ...row, window: [`${timeOf(opening.startAt)}-${timeOf(opening.endAt)}`] }
}

function withoutBlackouts({ rule, rules, ...facts }: WindowFacts): WindowFacts {
  return { ...facts, rule: daily(rule), rules: rules && rules.map(daily), calendars: null }
}

function daily(rule: unknown): unknown {
  return typeof rule === 'object' && rule !== null ? { ...rule, blackout: [] } : rule
}

function timeOf(at: number): string {
  return new Date(at).toISOString().slice(11, 16)
}
