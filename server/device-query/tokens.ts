import { DomainError } from '../errors.ts'

export type Token =
  | { type: 'word'; text: string; at: number }
  | { type: 'string'; value: string; at: number }
  | { type: 'number'; value: number; at: number }
  | { type: 'duration'; seconds: number; at: number }
  | { type: 'symbol'; text: string; at: number }
  | { type: 'end'; at: number }

const unitSeconds = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 } as const

const spaces = /[ \t\r\n]+/y
const word = /[A-Za-z_][A-Za-z0-9_-]*/y
const number = /-?[0-9]{1,15}(?:\.[0-9]{1,15})?/y
const unit = /[smhdw](?![A-Za-z0-9_-])/y
const symbol = /!=|<=|>=|[()=<>,.]/y
const quoted = /"((?:[^"\\]|\\["\\])*)"|'((?:[^'\\]|\\['\\])*)'/y

/** `invalid-request` that points at a place: `at` is counted from 0 in the text, and from 1 for people. */
export function wrongQuery(at: number, message: string): DomainError {
  const said = `column ${at + 1}: ${message}`
  return new DomainError('invalid-request', `The query is not right at ${said}`, {
    position: at,
    issues: [{ at: 'query', message: said }],
  })
}

/** Cuts a query into its tokens; the last one is the end. */
export function tokensOf(text: string): Token[] {
  const tokens: Token[] = []
  let at = 0
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at
    const found = pattern.exec(text)
    if (found) at += found[0].length
    return found
  }
  for (;;) {
    take(spaces)
    const start = at
    if (at === text.length) return [...tokens, { type: 'end', at }]
    const string = take(quoted)
    if (string) {
      tokens.push({ type: 'string', value: unquoted(string, start), at: start })
      continue
    }
    const digits = take(number)
    if (digits) {
      tokens.push(numeric(digits[0], take(unit)?.[0], start))
      continue
    }
    const name = take(word)
    if (name) {
      tokens.push({ type: 'word', text: name[0], at: start })
      continue
    }
    const sign = take(symbol)
    if (!sign) throw wrongQuery(start, unreadable(text[start] ?? ''))
    tokens.push({ type: 'symbol', text: sign[0], at: start })
  }
}

function unreadable(character: string): string {
  if (character === '"' || character === "'") return 'this text has no closing quotation mark'
  if (character === '!') return 'write != or not'
  return 'a name, a value, a comparison or a bracket is expected here'
}

function unquoted([, double, single]: RegExpExecArray, at: number): string {
  const value = (double ?? single ?? '').replaceAll(/\\(.)/gs, '$1')
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  if (!value.isWellFormed() || /[\u0000-\u001f\u007f-\u009f]/.test(value)) {
    throw wrongQuery(at, 'text in a query holds no control characters')
  }
  return value
}

function numeric(digits: string, letter: string | undefined, at: number): Token {
  const value = Number(digits)
  if (letter === undefined) return { type: 'number', value, at }
  const seconds = value * unitSeconds[letter as keyof typeof unitSeconds]
  if (seconds < 0 || seconds > 100 * 365 * 86_400) {
    throw wrongQuery(at, 'a duration is 0 seconds to 100 years')
  }
  return { type: 'duration', seconds, at }
}
