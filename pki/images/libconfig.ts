import { ImageError } from './source.ts'

/** A value of a libconfig file. A list may hold anything, an array scalars of one kind. */
export type Setting = string | number | bigint | boolean | Setting[] | SettingGroup
export type SettingGroup = ReadonlyMap<string, Setting>

export function isGroup(setting: Setting | undefined): setting is SettingGroup {
  return setting instanceof Map
}

const deepest = 32
const mostSettings = 20_000

/**
 * Reads text in libconfig's language, as far as `sw-description` files use it: groups, lists, arrays, texts (also several in a row),
 * numbers, truth values and all three kinds of comments. `@include` and names twice in one group are refused.
 *
 * @param text at most what the caller allows
 * @throws ImageError `damaged`, with line and column
 */
export function parseLibconfig(text: string): SettingGroup {
  const parser = new Parser(text)
  const group = parser.settings(0, undefined)
  parser.finish()
  return group
}

class Parser {
  readonly #text: string
  #at = 0
  #count = 0

  constructor(text: string) {
    this.#text = text
  }

  /** Settings up to `end`, or to the end of the text. */
  settings(depth: number, end: '}' | undefined): SettingGroup {
    if (depth > deepest) throw this.#refused('too deep')
    const group = new Map<string, Setting>()
    for (;;) {
      this.#skip()
      if (this.#at >= this.#text.length) {
        if (end === undefined) return group
        throw this.#refused(`${end} is missing`)
      }
      if (end !== undefined && this.#take(end)) return group
      const start = this.#at
      const name = this.#match(/[A-Za-z*][-A-Za-z0-9_*]*/y)
      if (name === undefined) throw this.#refused('a name is expected')
      if (group.has(name)) throw this.#refused(`${name} is there twice`, start)
      this.#skip()
      if (!this.#take('=') && !this.#take(':')) throw this.#refused('= or : is expected')
      group.set(name, this.#value(depth + 1))
      this.#skip()
      if (!this.#take(';')) this.#take(',')
    }
  }

  finish(): void {
    this.#skip()
    if (this.#at < this.#text.length) throw this.#refused('the end is expected')
  }

  #value(depth: number): Setting {
    this.#count += 1
    if (this.#count > mostSettings) throw this.#refused(`more than ${mostSettings} settings`)
    this.#skip()
    if (this.#take('{')) return this.settings(depth, '}')
    if (this.#take('(')) return this.#elements(depth, ')')
    if (this.#take('[')) return this.#elements(depth, ']')
    return this.#scalar()
  }

  #elements(depth: number, end: ')' | ']'): Setting[] {
    if (depth > deepest) throw this.#refused('too deep')
    const elements: Setting[] = []
    for (;;) {
      this.#skip()
      if (this.#take(end)) return elements
      const start = this.#at
      const element = this.#value(depth + 1)
      if (
        end === ']' &&
        (typeof element === 'object' || typeof element !== typeof (elements[0] ?? element))
      ) {
        throw this.#refused('an array holds values of one kind', start)
      }
      elements.push(element)
      this.#skip()
      if (this.#take(',')) continue
      if (this.#take(end)) return elements
      throw this.#refused(`, or ${end} is expected`)
    }
  }

  #scalar(): Setting {
    if (this.#text[this.#at] === '"') return this.#texts()
    const truth = this.#match(/(?:true|false)(?![-A-Za-z0-9_*])/iy)
    if (truth !== undefined) return truth.toLowerCase() === 'true'
    const hex = this.#match(/0[xX][0-9A-Fa-f]{1,16}L{0,2}/y)
    if (hex !== undefined) return whole(BigInt(hex.replace(/L+$/, '')))
    const decimal = this.#match(
      /[-+]?(?:\d{1,20}\.\d{0,20}(?:[eE][-+]?\d{1,4})?|\.\d{1,20}(?:[eE][-+]?\d{1,4})?|\d{1,20}[eE][-+]?\d{1,4})/y,
    )
    if (decimal !== undefined) return Number(decimal)
    const integer = this.#match(/[-+]?\d{1,20}L{0,2}/y)
    if (integer === undefined) throw this.#refused('a value is expected')
    return whole(BigInt(integer.replace(/^\+/, '').replace(/L+$/, '')))
  }

  /** Texts in a row are one. */
  #texts(): string {
    let all = ''
    while (this.#take('"')) {
      all += this.#restOfText()
      this.#skip()
    }
    return all
  }

  #restOfText(): string {
    let text = ''
    for (;;) {
      text += this.#match(/[^"\\]+/y) ?? ''
      if (this.#take('"')) return text
      if (!this.#take('\\')) throw this.#refused('a text has no end')
      const code = this.#match(/x[0-9A-Fa-f]{2}/y)
      if (code !== undefined) text += String.fromCharCode(Number.parseInt(code.slice(1), 16))
      else {
        const escaped = this.#match(/[nrtfabv"\\/]/y)
        if (escaped === undefined) throw this.#refused('an escape that is not known')
        text += escapes.get(escaped) ?? escaped
      }
    }
  }

  #skip(): void {
    while (this.#match(/(?:\s+|#[^\n]*|\/\/[^\n]*)/y) !== undefined || this.#comment()) continue
    if (this.#text[this.#at] === '@') throw this.#refused('@include is not allowed')
  }

  #comment(): boolean {
    if (!this.#text.startsWith('/*', this.#at)) return false
    const end = this.#text.indexOf('*/', this.#at + 2)
    if (end < 0) throw this.#refused('a comment has no end')
    this.#at = end + 2
    return true
  }

  #take(one: string): boolean {
    if (this.#text[this.#at] !== one) return false
    this.#at += 1
    return true
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0]
    if (found !== undefined) this.#at += found.length
    return found
  }

  #refused(message: string, at = this.#at): ImageError {
    const before = this.#text.slice(0, at)
    const line = before.split('\n').length
    return new ImageError('damaged', message, { line, column: at - before.lastIndexOf('\n') })
  }
}

const escapes = new Map([
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['f', '\f'],
  ['a', '\u0007'],
  ['b', '\b'],
  ['v', '\v'],
])

function whole(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}
