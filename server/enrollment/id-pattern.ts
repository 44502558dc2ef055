import { DomainError } from '../errors.ts'

interface Item {
  matches: (character: string) => boolean
  min: number
  max: number
}

export const maxPatternLength = 200
const maxItems = 64
/** No device identity is longer. */
const maxText = 64

/**
 * A pattern for device identities, matched in time proportional to the square of the text whatever the pattern: a
 * sequence of characters, `.`, `\d`, `\w`, `\` before a special character, and classes like `[A-F0-9_-]`, each with
 * an optional `?`, `*`, `+`, `{n}`, `{n,}` or `{n,m}`. It begins with `^` and ends with `$`, which says that nothing else
 * may stand around it. No groups and no alternatives, which is where backtracking explodes.
 *
 * @returns whether a text (at most 64 characters, longer never matches) matches as a whole
 * @throws DomainError `invalid-request` for anything else
 */
export function compileIdPattern(pattern: string): (text: string) => boolean {
  if (pattern.length > maxPatternLength) throw refused('it is longer than 200 characters')
  if (!pattern.startsWith('^') || !pattern.endsWith('$') || pattern.endsWith('\\$')) {
    throw refused('it must begin with ^ and end with $')
  }
  const items = parseItems(pattern.slice(1, -1))
  return (text) => text.length <= maxText && matchesAll(items, text)
}

function matchesAll(items: readonly Item[], text: string): boolean {
  // Which positions the items so far can end at; each item maps the set to the next one.
  let ends = new Set([0])
  for (const { matches, min, max } of items) {
    const next = new Set<number>()
    for (const start of ends) {
      for (let at = start, count = 0; ; at++, count++) {
        if (count >= min) next.add(at)
        if (count === max || at >= text.length || !matches(text.charAt(at))) break
      }
    }
    if (next.size === 0) return false
    ends = next
  }
  return ends.has(text.length)
}

function parseItems(body: string): Item[] {
  const items: Item[] = []
  // One item: a class, an escape or a plain character; then how often.
  const item =
    /(\[(?:\\[\x21-\x7e]|[^\]\\[])+\]|\\[\x21-\x7e]|[^\\[\](){}^$|?*+])(\?|\*|\+|\{\d{1,3}(?:,\d{0,3})?\})?/y
  while (item.lastIndex < body.length) {
    const at = item.lastIndex
    const found = item.exec(body)
    const [, atom, times] = found ?? []
    if (atom === undefined) {
      throw refused(
        `what stands at ${at + 2} is not available: groups, alternatives and anchors inside are not`,
      )
    }
    items.push({ matches: atomOf(atom), ...timesOf(times) })
    if (items.length > maxItems) throw refused(`it has more than ${maxItems} parts`)
  }
  return items
}

function timesOf(times: string | undefined): { min: number; max: number } {
  switch (times) {
    case undefined:
      return { min: 1, max: 1 }
    case '?':
      return { min: 0, max: 1 }
    case '*':
      return { min: 0, max: maxText }
    case '+':
      return { min: 1, max: maxText }
    default: {
      const [low = '', high] = times.slice(1, -1).split(',')
      const min = Number(low)
      const max = high === undefined ? min : high === '' ? maxText : Number(high)
      if (min > max || min > maxText) throw refused(`${times} is not a number of times`)
      return { min, max: Math.min(max, maxText) }
    }
  }
}

const isDigit = (character: string) => character >= '0' && character <= '9'
const isWord = (character: string) => /^\w$/.test(character)

function atomOf(atom: string): Item['matches'] {
  if (atom === '.') return () => true
  if (atom.startsWith('[')) return classOf(atom.slice(1, -1))
  if (atom.startsWith('\\')) return escapeOf(atom.charAt(1))
  return (character) => character === atom
}

function escapeOf(letter: string): Item['matches'] {
  if (letter === 'd') return isDigit
  if (letter === 'w') return isWord
  // Other letters mean something in other languages: better refused than misunderstood.
  if (isWord(letter)) throw refused(`\\${letter} is not available`)
  return (character) => character === letter
}

function classOf(body: string): Item['matches'] {
  const isNegated = body.startsWith('^')
  const parts: Item['matches'][] = []
  const member = /(\\[\x21-\x7e]|[^\\])(?:-(\\[^\w]|[^\\]))?/y
  member.lastIndex = isNegated ? 1 : 0
  while (member.lastIndex < body.length) {
    const [, from = '', to] = member.exec(body) ?? []
    if (from === '') throw refused('a class is malformed')
    if (to === undefined)
      parts.push(
        from.startsWith('\\') ? escapeOf(from.charAt(1)) : atomOf(from === '.' ? '\\.' : from),
      )
    else parts.push(rangeOf(from, to))
  }
  if (parts.length === 0) throw refused('a class is empty')
  return (character) => parts.some((matches) => matches(character)) !== isNegated
}

function rangeOf(from: string, to: string): Item['matches'] {
  const low = from.startsWith('\\') ? from.charAt(1) : from
  const high = to.startsWith('\\') ? to.charAt(1) : to
  if ((from.startsWith('\\') && isWord(low)) || low > high)
    throw refused(`${from}-${to} is not a range`)
  return (character) => character >= low && character <= high
}

function refused(why: string): DomainError {
  return new DomainError('invalid-request', `idPattern: ${why}`, {
    issues: [{ at: 'idPattern', message: why }],
  })
}
