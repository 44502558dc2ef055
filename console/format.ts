const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' })
const exact = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' })
const counted = new Intl.NumberFormat('en')

const units: readonly (readonly [unit: Intl.RelativeTimeFormatUnit, seconds: number])[] = [
  ['year', 31_557_600],
  ['month', 2_629_800],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
]

/** `3 hours ago`, `in 5 minutes`. */
export function ago(instant: string, now: number): string {
  const seconds = (Date.parse(instant) - now) / 1000
  for (const [unit, size] of units) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit)
  }
  return seconds > 30 ? 'in a moment' : 'just now'
}

export function at(instant: string): string {
  return exact.format(new Date(instant))
}

export function count(value: number): string {
  return counted.format(value)
}

/** What a program calls itself, short: the browser and the system of a session. */
export function browserName(userAgent: string): string {
  const browser = /(Edg|OPR|Firefox|Chrome|Safari)\//.exec(userAgent)?.[1]
  const system = /(Windows|Android|iPhone|iPad|Mac OS X|Linux)/.exec(userAgent)?.[1]
  const names: Readonly<Record<string, string>> = { Edg: 'Edge', OPR: 'Opera', 'Mac OS X': 'macOS' }
  const named = [browser, system].flatMap((word) =>
    word === undefined ? [] : [names[word] ?? word],
  )
  return named.length === 0 ? 'Another program' : named.join(' on ')
}

/** `person-signed-in` → `Person signed in`. */
export function words(kebab: string): string {
  const text = kebab.replaceAll('-', ' ')
  return text.charAt(0).toUpperCase() + text.slice(1)
}
