/**
 * Local time in the zones of the IANA list, by the zone data of the runtime (`process.versions.tz` says which). Instants are
 * milliseconds since 1970; a local time is written as the instant that would have it in UTC; a local day is its number since 1970.
 */

export const dayMs = 86_400_000
const minuteMs = 60_000

const formats = new Map<string, Intl.DateTimeFormat>()
/** The list has some six hundred; names differ in upper and lower case too. */
const maxFormats = 2_000

const zoneName = /^[A-Za-z][A-Za-z0-9_+-]*(\/[A-Za-z0-9_+-]+){0,2}$/

export function isZone(zone: string): boolean {
  if (zone.length > 64 || !zoneName.test(zone)) return false
  try {
    formatOf(zone)
    return true
  } catch {
    return false
  }
}

/** Throws RangeError for what is none. */
export function mustBeZone(zone: string): void {
  if (!isZone(zone)) throw new RangeError(`${zone} is no time zone of the IANA list`)
}

function formatOf(zone: string): Intl.DateTimeFormat {
  const known = formats.get(zone)
  if (known) return known
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    calendar: 'gregory',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })
  if (formats.size >= maxFormats) formats.clear()
  formats.set(zone, format)
  return format
}

export function localOf(zone: string, at: number): number {
  const fields: Record<string, number> = {}
  for (const { type, value } of formatOf(zone).formatToParts(at)) fields[type] = Number(value)
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = fields
  return Date.UTC(year, month - 1, day, hour, minute, second)
}

export function dayOf(zone: string, at: number): number {
  return Math.floor(localOf(zone, at) / dayMs)
}

/** Further apart than any two changes of a zone's clock are, and longer than the longest jump: Apia left out a day. */
const aroundMs = 26 * 3_600_000

/**
 * The instant at which a local time comes. One that the clock jumps over comes with the first minute after the jump; one that it
 * shows twice comes the first time, and not again.
 */
export function instantOf(zone: string, local: number): number {
  const before = offsetAt(zone, local - aroundMs)
  const after = offsetAt(zone, local + aroundMs)
  if (before === after) return local - before
  // The larger offset gives the earlier instant.
  for (const offset of [Math.max(before, after), Math.min(before, after)]) {
    if (offsetAt(zone, local - offset) === offset) return local - offset
  }
  return changeBetween(zone, local - aroundMs, local + aroundMs)
}

function offsetAt(zone: string, at: number): number {
  const second = Math.floor(at / 1_000) * 1_000
  return localOf(zone, second) - second
}

/** To the minute: the first instant with the offset that the end has. */
function changeBetween(zone: string, start: number, end: number): number {
  const offset = offsetAt(zone, end)
  let low = Math.floor(start / minuteMs)
  let high = Math.floor(end / minuteMs)
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (offsetAt(zone, middle * minuteMs) === offset) high = middle
    else low = middle
  }
  return high * minuteMs
}

/** `2026-12-24` as the number of the day; undefined for a date that no calendar has. */
export function dayNumber(date: string): number | undefined {
  const at = Date.parse(`${date}T00:00:00Z`)
  if (Number.isNaN(at) || new Date(at).toISOString().slice(0, 10) !== date) return undefined
  return at / dayMs
}

/** As people there read their clock: `2026-03-29 03:00 Europe/Berlin`. */
export function inZone(zone: string, at: Date): string {
  const local = new Date(localOf(zone, at.getTime())).toISOString()
  return `${local.slice(0, 10)} ${local.slice(11, 16)} ${zone}`
}
