import type { Opens, WindowRule } from '../server/rollouts/window-wire.ts'
import type { RolloutView } from '../server/rollouts/wire.ts'
import type { Option } from './command.ts'
import { usageError } from './failure.ts'
import type { Values } from './values.ts'

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

/** Options that say more about a window. */
export const besideWindow: Record<string, Option> = {
  blackout: {
    type: 'string',
    multiple: true,
    value: 'DATE[/DATE]',
    about: 'a day on which the window stays closed',
  },
  until: { type: 'string', value: 'DATE', about: 'the last day on which the window opens' },
  'hard-close': { type: 'boolean', about: 'at closing, take back what is being downloaded' },
}

export const windowOptions: Record<string, Option> = {
  window: {
    type: 'string',
    value: 'CRON/DURATION@ZONE',
    about: 'when devices may begin, e.g. "0 1 * * */PT4H@Europe/Berlin"; none for always',
  },
  ...besideWindow,
  'ignore-windows': {
    type: 'string',
    value: 'REASON',
    about: 'pass the windows of devices and groups (security releases only)',
  },
  'ignore-blackouts': { type: 'boolean', about: 'with --ignore-windows: pass closed days too' },
}

/** What the options say, as fields of a rollout; empty when they say nothing, and `none` is null. */
export function windowBody(values: Values) {
  const text = values.text('window')
  const reason = values.text('ignore-windows')
  const blackout = values.texts('blackout')
  const more = blackout.length > 0 || values.flag('hard-close') || values.text('until')
  if (text === undefined && more)
    throw usageError('--blackout, --until and --hard-close need --window')
  if (reason === undefined && values.flag('ignore-blackouts')) {
    throw usageError('--ignore-blackouts needs --ignore-windows REASON')
  }
  return {
    ...(text !== undefined && { window: text === 'none' ? null : windowOf(text, values) }),
    ...(reason !== undefined && {
      ignoreWindows:
        reason === 'none' ? null : { reason, blackouts: values.flag('ignore-blackouts') },
    }),
  }
}

/** The window that is typed, with the options beside it. */
export function windowOf(text: string, values: Values): TypedWindow {
  const until = values.text('until')
  return {
    ...parseWindow(text),
    blackout: values.texts('blackout'),
    hardClose: values.flag('hard-close'),
    ...(until !== undefined && { until }),
  }
}

/** For a person; nothing where nothing was said. */
export function windowFields({
  window,
  ignoreWindows,
}: Pick<RolloutView, 'window' | 'ignoreWindows'>) {
  const fields: [string, string][] = []
  if (window) fields.push(['window', windowText(window)], ...opensFields(window.opens))
  if (window && window.blackout.length > 0) fields.push(['closed on', window.blackout.join(', ')])
  if (ignoreWindows) {
    const also = ignoreWindows.blackouts ? 'windows and blackouts' : 'windows'
    fields.push(['passes', `${also}: ${ignoreWindows.reason}`])
  }
  return fields
}

export function opensFields({ open, until, next }: Opens): [string, string][] {
  const words = (moment: Opens['next']) => (moment ? `${moment.local} (${moment.at})` : 'never')
  return [
    ...(open ? [['open until', words(until)] as [string, string]] : []),
    ['opens next', words(next)],
  ]
}
