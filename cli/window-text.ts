import type { WindowRule } from '../server/rollouts/window-wire.ts'
import { usageError } from './failure.ts'

export type TypedWindow = Pick<WindowRule, 'duration' | 'zone'> &
  Partial<Omit<WindowRule, 'duration' | 'zone'>>

const form = /^(.+)\/(P[0-9A-Z]{2,15})@(\S{1,64})$/
const weeklyForm = /^([a-z,]{3,27}) (\d\d:\d\d)$/

// A line comment, since a cron line ends one of the other kind.
// A window as it is typed: `0 1 * * */PT4H@Europe/Berlin`, or `mon,thu 01:00/PT4H@Europe/Berlin`.
export function parseWindow(text: string): TypedWindow {
  const [, starts = '', duration, zone] = form.exec(text) ?? []
  if (duration === undefined || zone === undefined) throw odd(text)
  const [, days, at] = weeklyForm.exec(starts) ?? []
  if (days === undefined || at === undefined) return { cron: starts, duration, zone }
  const weekly = { days: days.split(',').map((day) => weekdayOf(day, text)), at }
  return { weekly, duration, zone }
}

/** The same way round, for a person. */
export function windowText({ cron, weekly, duration, zone }: TypedWindow): string {
  const starts = weekly ? `${weekly.days.join(',')} ${weekly.at}` : (cron ?? '')
  return `${starts}/${duration}@${zone}`
}

const weekdays = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const

function weekdayOf(day: string, text: string): (typeof weekdays)[number] {
  const found = weekdays.find((one) => one === day)
  if (found === undefined) throw odd(text)
  return found
}

function odd(text: string) {
  return usageError(
    `${text} is not a window`,
    'Write CRON/DURATION@ZONE or DAYS TIME/DURATION@ZONE, e.g. "0 1 * * */PT4H@Europe/Berlin" or "sat,sun 22:00/PT8H@Europe/Berlin"',
  )
}
