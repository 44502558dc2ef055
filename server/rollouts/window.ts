import { secondsOf } from '../protocol/duration.ts'
import { type Starts, weeklyStarts, parseCron } from './window-cron.ts'
import type { Blackout, WindowRule } from './window-wire.ts'
import { dayMs, dayNumber, dayOf, instantOf, mustBeZone } from './window-zone.ts'

/** Open from `startAt` until before `endAt`: milliseconds since 1970, or infinite. */
export interface Opening {
  startAt: number
  endAt: number
}

/** What can be asked of a window that was written down. */
export interface Window {
  zone: string
  /** The opening that holds the instant, else the next one; undefined when none comes any more. Its own blackout days do not count. */
  from: (at: number) => Opening | undefined
  hardClose: boolean
}

/** Days on which everything is closed, by the calendar of a place. In order, and apart from each other. */
export interface Closed {
  zone: string
  ranges: readonly { from: number; to: number }[]
}

/** All windows must be open and none of the calendars closed. */
export interface Schedule {
  windows: readonly Window[]
  closed: readonly Closed[]
}

const open: Opening = { startAt: -Infinity, endAt: Infinity }

/**
 * The opening of a schedule that holds the instant, else the next one. Undefined when none comes any more, or none that so many
 * steps from one window to the next lead to: windows that never meet are not looked through to the end of time.
 */
export function openingFrom({ windows, closed }: Schedule, at: number): Opening | undefined {
  const maxSteps = 300
  let now = at
  for (let step = 0; step < maxSteps; step++) {
    const found = windows.map((window) => window.from(now))
    const isNever = found.includes(undefined)
    if (isNever) return undefined
    const openings = found.filter((one) => one !== undefined)
    const around = [...openings, ...closed.map((calendar) => betweenClosed(calendar, now))]
    const latest = Math.max(now, ...around.map(({ startAt }) => startAt))
    if (latest === Infinity) return undefined
    if (latest <= now) {
      return around.reduce(
        (all, one) => ({
          startAt: Math.max(all.startAt, one.startAt),
          endAt: Math.min(all.endAt, one.endAt),
        }),
        open,
      )
    }
    now = latest
  }
  return undefined
}

/** The time between two closed ranges that holds the instant, else the one after the range that does. */
function betweenClosed({ zone, ranges }: Closed, at: number): Opening {
  const day = dayOf(zone, at)
  const next = ranges.findIndex(({ to }) => to >= day)
  if (next < 0) return startingAfter(zone, ranges.at(-1))
  const range = ranges[next]
  if (range && range.from > day) {
    return { ...startingAfter(zone, ranges[next - 1]), endAt: startOfDay(zone, range.from) }
  }
  return startingAfter(zone, range)
}

function startingAfter(zone: string, range: { to: number } | undefined): Opening {
  return range ? { startAt: startOfDay(zone, range.to + 1), endAt: Infinity } : open
}

/** What a date in the year 9999 ends with never ends. */
const lastDay = dayNumber('9999-12-31') ?? 0

function startOfDay(zone: string, day: number): number {
  return day > lastDay ? Infinity : instantOf(zone, day * dayMs)
}

/**
 * Kept apart and in order, so that the one that counts is found by the first that is not over.
 *
 * @throws RangeError for an unknown zone
 */
export function closedOf(zone: string, blackout: readonly Blackout[]): Closed {
  mustBeZone(zone)
  const ranges: { from: number; to: number }[] = []
  const given = blackout.flatMap((entry) => {
    const [first = '', last = first] = entry.split('/')
    const from = dayNumber(first)
    const to = dayNumber(last)
    return from === undefined || to === undefined || to < from ? [] : [{ from, to }]
  })
  for (const range of given.toSorted((a, b) => a.from - b.from)) {
    const before = ranges.at(-1)
    if (before && range.from <= before.to + 1) before.to = Math.max(before.to, range.to)
    else ranges.push({ ...range })
  }
  return { zone, ranges }
}

/**
 * A window as it was written down, ready to be asked. `scheduleOf` in window-facts.ts adds its blackout days.
 *
 * @throws CronError for a cron line that is none, RangeError for an unknown zone
 */
export function windowOf(rule: WindowRule): Window {
  const { zone, duration, until, hardClose } = rule
  mustBeZone(zone)
  const starts = rule.cron === undefined ? weeklyOf(rule) : parseCron(rule.cron)
  const lastStartDay = until === undefined ? Infinity : (dayNumber(until) ?? -Infinity)
  const durationMs = (secondsOf(duration) ?? 0) * 1_000
  let known: { at: number; opening: Opening | undefined } | undefined
  const from = (at: number) => {
    const isKnown = known && known.at <= at && (known.opening?.endAt ?? Infinity) > at
    if (!isKnown) known = { at, opening: find({ zone, starts, durationMs, lastStartDay }, at) }
    return known?.opening
  }
  return { zone, from, hardClose }
}

function weeklyOf({ weekly }: WindowRule): Starts {
  return weekly ? weeklyStarts(weekly.days, weekly.at) : { isDay: () => false, minutes: [] }
}

interface Times {
  zone: string
  starts: Starts
  durationMs: number
  lastStartDay: number
}

/** Between one 29 February and the next are at most eight years. */
const maxDays = 9 * 366
/** A window that never closes is said to close after so long, again and again. */
const maxOpenMs = 14 * dayMs

/** Openings that touch are one. */
function find({ zone, starts, durationMs, lastStartDay }: Times, at: number): Opening | undefined {
  const today = dayOf(zone, at)
  const back = Math.ceil(durationMs / dayMs) + 1
  let opening: Opening | undefined
  for (let day = today - back; day <= Math.min(today + maxDays, lastStartDay); day++) {
    if (opening && opening.endAt > at && day * dayMs > opening.endAt + 2 * dayMs) return opening
    if (!starts.isDay(day)) continue
    for (const minute of starts.minutes) {
      const startAt = instantOf(zone, day * dayMs + minute * 60_000)
      const endAt = startAt + durationMs
      if (opening && startAt <= opening.endAt) opening.endAt = endAt
      else if (opening && opening.endAt > at) return opening
      else opening = { startAt, endAt }
      if (opening.endAt > at + maxOpenMs) return opening
    }
  }
  return opening && opening.endAt > at ? opening : undefined
}
