/** Hours of the day, such as `22:00-06:00`: which minute it is where, and whether a span is long enough. */

const minuteMs = 60_000
const dayMinutes = 1_440

/** First and last minute of the day; undefined for what is no span. A span that ends before it begins goes over midnight. */
function spanOf(span: string): { start: number; end: number } | undefined {
  const match = /^(\d\d):(\d\d)-(\d\d):(\d\d)$/.exec(span)
  if (!match) return undefined
  const [startHour = 0, startMinute = 0, endHour = 0, endMinute = 0] = match.slice(1).map(Number)
  return { start: startHour * 60 + startMinute, end: endHour * 60 + endMinute }
}

/** Whether a time of day, in minutes, is in one of the spans; a malformed one never is. */
export function isInWindow(spans: readonly string[], minutes: number): boolean {
  return spans.some((span) => {
    const found = spanOf(span)
    if (!found) return false
    const { start, end } = found
    return start <= end ? minutes >= start && minutes < end : minutes >= start || minutes < end
  })
}

/** Milliseconds; 0 for a malformed one. */
export function lengthOf(span: string): number {
  const found = spanOf(span)
  if (!found) return 0
  return ((found.end - found.start + dayMinutes) % dayMinutes) * minuteMs
}

/** Those spans in which an installation of this length fits. */
export function longEnough(spans: readonly string[], installMs: number): string[] {
  return spans.filter((span) => lengthOf(span) >= Math.max(installMs, minuteMs))
}

/** The minute of the day in a time zone of the IANA list; in that of the machine when none is given. */
export function minutesIn(at: Date, zone: string | undefined): number {
  const parts = new Intl.DateTimeFormat('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
    timeZone: zone,
  }).formatToParts(at)
  const numberOf = (type: string) => Number(parts.find((part) => part.type === type)?.value ?? 0)
  return numberOf('hour') * 60 + numberOf('minute')
}

export function isZone(zone: string): boolean {
  try {
    return new Intl.DateTimeFormat('en-GB', { timeZone: zone }).resolvedOptions().timeZone !== ''
  } catch {
    return false
  }
}
