import { usageError } from './failure.ts'

type Parsed = Record<string, string | boolean | (string | boolean)[] | undefined>

/** The options that were given, read as what they should be. Throws a usage error that names the option. */
export class Values {
  readonly #given: Parsed
  constructor(given: Parsed) {
    this.#given = given
  }

  text(name: string): string | undefined {
    const value = this.#given[name]
    return typeof value === 'string' ? value : undefined
  }

  needed(name: string): string {
    const value = this.text(name)
    if (value === undefined || value === '') throw usageError(`--${name} is missing`)
    return value
  }

  texts(name: string): string[] {
    const value = this.#given[name]
    return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
  }

  flag(name: string): boolean {
    return this.#given[name] === true
  }

  number(name: string): number | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    if (!/^\d{1,15}(\.\d{1,6})?$/.test(text))
      throw usageError(`--${name} must be a number, not ${text}`)
    return Number(text)
  }

  oneOf<T extends string>(name: string, words: readonly T[]): T | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const word = words.find((each) => each === text)
    if (word === undefined) throw usageError(`--${name} must be one of ${words.join(', ')}`)
    return word
  }

  /** RFC 3339, or a span from now such as `30d`, `12h`, `45m`. Answers RFC 3339 UTC. */
  instant(name: string, now: Date): string | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const [, count, unit] = /^(\d{1,5})([dhm])$/.exec(text) ?? []
    if (count !== undefined) {
      const ms = unit === 'd' ? 86_400_000 : unit === 'h' ? 3_600_000 : 60_000
      return new Date(now.getTime() + Number(count) * ms).toISOString()
    }
    const at = new Date(text)
    if (!/^\d{4}-\d{2}-\d{2}/.test(text) || Number.isNaN(at.getTime())) {
      throw usageError(
        `--${name} must be an instant (2030-01-31T12:00:00Z) or a span from now (30d, 12h, 45m)`,
      )
    }
    return at.toISOString()
  }
}
