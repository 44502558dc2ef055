import type { FindingView } from './wire.ts'

export type Finding = FindingView

export function ok(check: string, what: string): Finding {
  return { check, level: 'ok', what, fix: null }
}

export function warning(check: string, what: string, fix: string): Finding {
  return { check, level: 'warning', what, fix }
}

export function error(check: string, what: string, fix: string): Finding {
  return { check, level: 'error', what, fix }
}

const dayMs = 86_400_000

/** Something that ends: how many days are left, with a warning and an error below so many. */
export function expiring(
  check: string,
  name: string,
  end: { at: Date; now: Date; warnDays: number; errorDays: number; fix: string },
): Finding {
  const days = Math.floor((end.at.getTime() - end.now.getTime()) / dayMs)
  if (days >= end.warnDays) return ok(check, `${name}: ${days} days left`)
  const what = days < 0 ? `${name} has expired` : `${name}: ${days} days left`
  return days < end.errorDays ? error(check, what, end.fix) : warning(check, what, end.fix)
}
