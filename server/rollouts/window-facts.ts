import type { WindowFacts } from '../db/window-facts.ts'
import { CronError } from './window-cron.ts'
import { Blackouts, IgnoreWindows, WindowRule } from './window-wire.ts'
import { closedOf, type Opening, openingFrom, type Schedule, windowOf } from './window.ts'

export interface Planned {
  /** Nothing to wait for, ever. */
  isAlways: boolean
  hardClose: boolean
  /** The opening that holds the instant, else the next one. */
  from: (at: number) => Opening | undefined
}

const plans = new Map<string, Planned>()
const maxPlans = 2_000

/**
 * What all that is said amounts to. What cannot be understood, which only a hand in the database can have written, is a window that
 * never opens.
 */
export function planOf({ rule, rules, calendars, ignore }: WindowFacts): Planned {
  if (!rule && !rules?.length && !calendars?.length) return always
  const key = JSON.stringify([rule, rules, calendars, ignore])
  const known = plans.get(key)
  if (known) return known
  const plan = makePlan({ rule, rules, calendars, ignore })
  if (plans.size >= maxPlans) plans.clear()
  plans.set(key, plan)
  return plan
}

const always: Planned = {
  isAlways: true,
  hardClose: false,
  from: () => ({ startAt: -Infinity, endAt: Infinity }),
}
const never: Planned = { isAlways: false, hardClose: false, from: () => undefined }

function makePlan(facts: Omit<WindowFacts, 'neededMs'>): Planned {
  try {
    const schedule = scheduleOf(facts)
    if (schedule.windows.length === 0 && schedule.closed.length === 0) return always
    return {
      isAlways: false,
      hardClose: schedule.windows.some(({ hardClose }) => hardClose),
      from: remembering((at) => openingFrom(schedule, at)),
    }
  } catch (error) {
    if (error instanceof CronError || error instanceof RangeError || error instanceof Malformed) {
      return never
    }
    throw error
  }
}

class Malformed extends Error {}

function scheduleOf({ rule, rules, calendars, ignore }: Omit<WindowFacts, 'neededMs'>): Schedule {
  const passes = ignore ? read(IgnoreWindows, ignore) : undefined
  const wanted = [...(rule ? [rule] : []), ...(passes ? [] : (rules ?? []))]
  const written = wanted.map((one) => read(WindowRule, one))
  const closed = passes?.blackouts ? [] : (calendars ?? []).map(calendarOf)
  const own = written.filter(({ blackout }) => blackout.length > 0)
  return {
    windows: written.map(windowOf),
    closed: [...closed, ...own.map(({ zone, blackout }) => closedOf(zone, blackout))],
  }
}

function calendarOf(value: unknown) {
  const { zone, dates } = (value ?? {}) as { zone?: unknown; dates?: unknown }
  if (typeof zone !== 'string') throw new Malformed()
  return closedOf(zone, read(Blackouts, dates))
}

function read<T>(
  schema: { safeParse: (value: unknown) => { success: boolean; data?: T } },
  value: unknown,
): T {
  const { success, data } = schema.safeParse(value)
  if (!success || data === undefined) throw new Malformed()
  return data
}

/** Thousands of devices are asked about in the same minute. */
function remembering(find: (at: number) => Opening | undefined) {
  let known: { at: number; opening: Opening | undefined } | undefined
  return (at: number) => {
    const isKnown = known && known.at <= at && at < (known.opening?.endAt ?? Infinity)
    if (!isKnown) known = { at, opening: find(at) }
    return known?.opening
  }
}
