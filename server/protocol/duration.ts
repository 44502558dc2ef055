const form =
  /^P(?=[\dT])(?:(\d{1,5})W|(?:(\d{1,5})D)?(?:T(?=\d)(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,7})S)?)?)$/

/**
 * Seconds of an ISO 8601 duration of weeks, or of days, hours, minutes and seconds (`P7D`, `PT1H30M`, `P2W`); undefined for
 * anything else. Months and years have no length of their own and are refused; a day is 24 hours.
 */
export function secondsOf(text: string): number | undefined {
  const found = form.exec(text)
  if (!found) return undefined
  const [weeks, days, hours, minutes, seconds] = found.slice(1).map((part) => Number(part ?? 0))
  const inDays = (weeks ?? 0) * 7 + (days ?? 0)
  return ((inDays * 24 + (hours ?? 0)) * 60 + (minutes ?? 0)) * 60 + (seconds ?? 0)
}

/** The shortest ISO 8601 duration of so many seconds: `secondsOf(durationOf(s)) === s`. */
export function durationOf(seconds: number): string {
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), 'D'],
    [Math.floor(seconds / 3_600) % 24, 'H'],
    [Math.floor(seconds / 60) % 60, 'M'],
    [seconds % 60, 'S'],
  ]
  const [days, ...time] = parts.map(([n, unit]) => (n > 0 ? `${n}${unit}` : ''))
  const inTime = time.join('')
  if (!days && !inTime) return 'PT0S'
  return `P${days ?? ''}${inTime ? `T${inTime}` : ''}`
}
