import type { Planned } from './window-facts.ts'
import { planOf } from './window-facts.ts'
import { type Opens, WindowRule } from './window-wire.ts'
import { inZone } from './window-zone.ts'

/** When it is open, in UTC and as the clock shows it in the zone of the window. */
export function opensOf(plan: Pick<Planned, 'from'>, zone: string, now: Date): Opens {
  const at = now.getTime()
  const moment = (instant: number) =>
    Number.isFinite(instant)
      ? { at: new Date(instant).toISOString(), local: inZone(zone, new Date(instant)) }
      : null
  const opening = plan.from(at)
  if (!opening) return { open: false, until: null, next: null }
  if (opening.startAt > at) return { open: false, until: null, next: moment(opening.startAt) }
  const next = Number.isFinite(opening.endAt) ? plan.from(opening.endAt) : undefined
  return { open: true, until: moment(opening.endAt), next: next ? moment(next.startAt) : null }
}

/** Of a window as it is stored, by itself: others that count for a device are in its `explain`. */
export function windowView(stored: unknown, now: Date): (WindowRule & { opens: Opens }) | null {
  const parsed = WindowRule.safeParse(stored)
  if (!parsed.success) return null
  const plan = planOf({ rule: stored, rules: null, calendars: null, ignore: null, neededMs: null })
  return { ...parsed.data, opens: opensOf(plan, parsed.data.zone, now) }
}
