import { DomainError } from '../errors.ts'
import { secondsOf } from '../protocol/duration.ts'
import { CronError } from './window-cron.ts'
import type { Blackout, CalendarBody, WindowRule } from './window-wire.ts'
import { dayNumber, isZone } from './window-zone.ts'
import { closedOf, openingFrom, windowOf } from './window.ts'

const shortestS = 5 * 60
const longestS = 7 * 86_400

/**
 * Throws DomainError `invalid-request`, which names the field below `at`, for a window that makes no sense or never opens from `now` on;
 * and for one that is always too short when it is known how long a release takes.
 */
export function checkWindow(rule: WindowRule, now: Date, at = 'window'): void {
  const refuse = (field: string, message: string) => refusal(`${at}.${field}`, message)
  const { cron, weekly, duration, zone, blackout, until } = rule
  if ((cron === undefined) === (weekly === undefined)) {
    throw refusal(at, 'say when it opens, by cron or by weekly')
  }
  const seconds = secondsOf(duration)
  if (seconds === undefined || seconds < shortestS || seconds > longestS) {
    throw refuse('duration', 'must be a duration from PT5M to P7D, like PT4H')
  }
  if (!isZone(zone)) throw refuse('zone', noZone)
  checkDates(blackout, `${at}.blackout`)
  if (until !== undefined && dayNumber(until) === undefined) throw refuse('until', noDate(until))
  try {
    const schedule = { windows: [windowOf(rule)], closed: [closedOf(zone, blackout)] }
    if (!openingFrom(schedule, now.getTime())) throw refusal(at, 'never opens from now on')
  } catch (error) {
    if (error instanceof CronError) throw refuse('cron', error.message)
    throw error
  }
}

export function checkCalendar({ zone, dates }: CalendarBody): void {
  if (!isZone(zone)) throw refusal('zone', noZone)
  checkDates(dates, 'dates')
}

const noZone = 'must be a time zone of the IANA list, like Europe/Berlin'
const noDate = (text: string) => `there is no ${text}`

function checkDates(dates: readonly Blackout[], at: string): void {
  for (const entry of dates) {
    const [first = '', last = first] = entry.split('/')
    const from = dayNumber(first)
    const to = dayNumber(last)
    if (from === undefined || to === undefined) throw refusal(at, noDate(entry))
    if (to < from) throw refusal(at, `${entry} ends before it begins`)
  }
}

function refusal(at: string, message: string): DomainError {
  return new DomainError('invalid-request', `${at}: ${message}`, { issues: [{ at, message }] })
}
