import { dayMs } from './window-zone.ts'

/** When something starts, by the calendar and clock of a place: on which days, and at which minutes of them (rising). */
export interface Starts {
  isDay: (day: number) => boolean
  minutes: readonly number[]
}

const monthNames = [
  'jan',
  'feb',
  'mar',
  'apr',
  'may',
  'jun',
  'jul',
  'aug',
  'sep',
  'oct',
  'nov',
  'dec',
]
export const weekdayNames = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const

interface Field {
  name: string
  from: number
  to: number
  names?: readonly string[]
}
const fields = [
  { name: 'minute', from: 0, to: 59 },
  { name: 'hour', from: 0, to: 23 },
  { name: 'day of the month', from: 1, to: 31 },
  { name: 'month', from: 1, to: 12, names: monthNames },
  { name: 'day of the week', from: 0, to: 7, names: weekdayNames },
] as const satisfies readonly Field[]

/** More would be no windows. */
const maxStartsADay = 24
const longestText = 100
const longestMonth = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

/** Of a text that is no cron line, or one that can be of no use here; the message is for whoever wrote it. */
export class CronError extends Error {
  override name = 'CronError'
}

/**
 * Five fields as crontab(5) has them: minute, hour, day of the month, month, day of the week; `*`, numbers, names, ranges, steps
 * and lists. Where both kinds of day are restricted, one of them is enough.
 *
 * @throws CronError for anything else, for more than 24 starts a day, and for a date that never comes
 */
export function parseCron(text: string): Starts {
  const words = text.trim().split(/\s+/, 6)
  if (text.length > longestText || words.length !== fields.length) {
    throw new CronError('a cron line has five fields: minute, hour, day, month, day of the week')
  }
  const [minutes, hours, days, months, weekdays] = fields.map((field, n) =>
    valuesOf(words[n] ?? '', field),
  ) as [Set<number>, Set<number>, Set<number>, Set<number>, Set<number>]
  if (weekdays.has(7)) weekdays.add(0)
  if (minutes.size * hours.size > maxStartsADay) {
    throw new CronError(`a window starts at most ${maxStartsADay} times a day`)
  }
  const isAnyDay = words[2]?.startsWith('*') ?? false
  const isAnyWeekday = words[4]?.startsWith('*') ?? false
  const comes = [...months].some((month) => Math.min(...days) <= (longestMonth[month - 1] ?? 0))
  if (!comes && (isAnyWeekday || isAnyDay)) throw new CronError('it names a day that never comes')
  const isDay = (day: number) => {
    const date = new Date(day * dayMs)
    if (!months.has(date.getUTCMonth() + 1)) return false
    const byDate = days.has(date.getUTCDate())
    const byWeekday = weekdays.has(date.getUTCDay())
    return isAnyDay || isAnyWeekday ? byDate && byWeekday : byDate || byWeekday
  }
  return { isDay, minutes: minutesOf(hours, minutes) }
}

/** On these days of the week, at one time of day. */
export function weeklyStarts(days: readonly (typeof weekdayNames)[number][], at: string): Starts {
  const [hour = 0, minute = 0] = at.split(':').map(Number)
  const wanted = new Set<number>(days.map((day) => weekdayNames.indexOf(day)))
  return {
    isDay: (day) => wanted.has(new Date(day * dayMs).getUTCDay()),
    minutes: [hour * 60 + minute],
  }
}

function minutesOf(hours: Set<number>, minutes: Set<number>): number[] {
  return [...hours]
    .flatMap((hour) => [...minutes].map((minute) => hour * 60 + minute))
    .toSorted((a, b) => a - b)
}

function valuesOf(text: string, field: Field): Set<number> {
  const values = new Set<number>()
  for (const part of text.split(',')) {
    const { from, to, step } = rangeOf(part, field)
    for (let value = from; value <= to; value += step) values.add(value)
  }
  return values
}

const rangePattern = /^(?:\*|([a-z]{3}|\d{1,2})(?:-([a-z]{3}|\d{1,2}))?)(?:\/(\d{1,2}))?$/i

function rangeOf(part: string, field: Field): { from: number; to: number; step: number } {
  const match = rangePattern.exec(part)
  const wrong = () => new CronError(`${JSON.stringify(part)} is no ${field.name}`)
  if (!match) throw wrong()
  const [, first, last, every] = match
  const step = every === undefined ? 1 : Number(every)
  // `5/10` means from 5 on, as everywhere; a range says where it ends.
  const from = first === undefined ? field.from : numberOf(first, field)
  const end = first === undefined || (last === undefined && every !== undefined) ? field.to : from
  const to = last === undefined ? end : numberOf(last, field)
  const isInside = from !== undefined && to !== undefined && from >= field.from && to <= field.to
  if (!isInside || from > to || step < 1) throw wrong()
  return { from, to, step }
}

function numberOf(text: string, { names, from }: Field): number | undefined {
  if (/^\d+$/.test(text)) return Number(text)
  const index = names?.indexOf(text.toLowerCase()) ?? -1
  return index < 0 ? undefined : index + from
}
