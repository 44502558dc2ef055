import { closedList, fieldNames, fieldOf } from './fields.ts'
import type { DeviceQuery, Field, Literal, Order, Test } from './query.ts'
import { type Token, tokensOf, wrongQuery } from './tokens.ts'
import { versionKey } from './version.ts'

export const longestQuery = 2_000
const mostComparisons = 100
const deepest = 20

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i
const instant = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?Z)?$/
const orders: readonly string[] = ['<', '<=', '>', '>=']
const keywords = new Set(['and', 'or', 'not', 'in', 'like', 'exists', 'true', 'false'])

/**
 * Reads a question about devices:
 *
 *     query      = term *("or" term)            term = factor *("and" factor)
 *     factor     = "not" factor / "(" query ")" / comparison
 *     comparison = field ("=" / "!=" / "<" / "<=" / ">" / ">=") value
 *                / field ["not"] "in" "(" value *("," value) ")"
 *                / field ["not"] "like" string      ; * is any text
 *                / field ["not"] "exists"
 *                / flag
 *     field      = word *("." (word / string))
 *     value      = string / number / duration / "true" / "false"
 *
 * At most 2,000 characters, 100 comparisons, 20 brackets deep. A mistake is `invalid-request` with its column. The grammar is printed
 * in docs/device-queries.md.
 */
export function parseDeviceQuery(text: string): DeviceQuery {
  if (text.length > longestQuery) {
    throw wrongQuery(longestQuery, `a query has at most ${longestQuery} characters`)
  }
  const parser = new Parser(tokensOf(text))
  const query = parser.query(false)
  parser.expectEnd()
  return query
}

class Parser {
  private next = 0
  private comparisons = 0
  private depth = 0
  private readonly tokens: readonly Token[]

  constructor(tokens: readonly Token[]) {
    this.tokens = tokens
  }

  query(negated: boolean): DeviceQuery {
    return this.list('or', negated ? 'all' : 'any', () =>
      this.list('and', negated ? 'any' : 'all', () => this.factor(negated)),
    )
  }

  expectEnd(): void {
    const token = this.peek()
    if (token.type !== 'end') throw wrongQuery(token.at, 'and, or, or the end is expected here')
  }

  private list(between: 'and' | 'or', kind: 'all' | 'any', one: () => DeviceQuery): DeviceQuery {
    const terms = [one()]
    while (this.takeWord(between)) terms.push(one())
    const [only] = terms
    return only !== undefined && terms.length === 1 ? only : { kind, terms }
  }

  private factor(negated: boolean): DeviceQuery {
    this.depth += 1
    if (this.depth > deepest) {
      throw wrongQuery(this.peek().at, `a query is nested at most ${deepest} deep`)
    }
    const factor = this.takeWord('not')
      ? this.factor(!negated)
      : this.takeSymbol('(')
        ? this.bracketed(negated)
        : this.comparison(negated)
    this.depth -= 1
    return factor
  }

  private bracketed(negated: boolean): DeviceQuery {
    const query = this.query(negated)
    if (!this.takeSymbol(')')) throw wrongQuery(this.peek().at, 'a closing bracket is missing here')
    return query
  }

  private comparison(negated: boolean): DeviceQuery {
    this.comparisons += 1
    if (this.comparisons > mostComparisons) {
      throw wrongQuery(this.peek().at, `a query has at most ${mostComparisons} comparisons`)
    }
    const field = this.field()
    const { test, inverted } = this.test(field)
    return { kind: 'compare', negated: negated !== inverted, field, test }
  }

  private field(): Field {
    const first = this.take()
    if (first.type !== 'word' || keywords.has(first.text)) {
      throw wrongQuery(first.at, 'the name of a field is expected here')
    }
    const path = [first.text]
    while (this.takeSymbol('.')) path.push(this.step())
    const field = fieldOf(path)
    if (!field) {
      throw wrongQuery(
        first.at,
        `there is no field ${path.join('.')}; fields: ${fieldNames.join(', ')}`,
      )
    }
    return field
  }

  private step(): string {
    const token = this.take()
    if (token.type === 'word') return token.text
    if (token.type === 'string' && token.value !== '') return token.value
    throw wrongQuery(
      token.at,
      'a name is expected after the dot; put others than words in quotation marks',
    )
  }

  private test(field: Field): { test: Test; inverted: boolean } {
    const { at } = this.peek()
    if (field.type === 'flag') return this.flag()
    const inverted = this.takeWord('not')
    if (this.takeWord('exists')) return { test: { op: 'exists' }, inverted }
    if (this.takeWord('in')) return { test: inTest(field, this.valueList(), at), inverted }
    if (this.takeWord('like')) return { test: likeTest(field, this.take(), at), inverted }
    if (inverted) throw wrongQuery(this.peek().at, 'in, like or exists is expected after not')
    const sign = this.take()
    if (sign.type !== 'symbol' || !['=', '!=', ...orders].includes(sign.text)) {
      throw wrongQuery(sign.at, 'a comparison (= != < <= > >= in like exists) is expected here')
    }
    const value = this.take()
    if (sign.text === '=' || sign.text === '!=') {
      return { test: inTest(field, [value], sign.at), inverted: sign.text === '!=' }
    }
    return { test: orderTest(field, sign.text as Order, value, sign.at), inverted: false }
  }

  /** `connected`, `connected = true`, `connected != true`. */
  private flag(): { test: Test; inverted: boolean } {
    const equal = this.takeSymbol('=')
    if (!equal && !this.takeSymbol('!=')) {
      const token = this.peek()
      if (token.type === 'symbol' && token.text !== ')') {
        throw wrongQuery(token.at, 'compare this field with = true or = false')
      }
      return { test: { op: 'exists' }, inverted: false }
    }
    const value = this.take()
    if (value.type !== 'word' || (value.text !== 'true' && value.text !== 'false')) {
      throw wrongQuery(value.at, 'true or false is expected here')
    }
    return { test: { op: 'exists' }, inverted: equal === (value.text === 'false') }
  }

  private valueList(): Token[] {
    if (!this.takeSymbol('('))
      throw wrongQuery(this.peek().at, 'a list in brackets is expected here')
    const values = [this.take()]
    while (this.takeSymbol(',')) values.push(this.take())
    if (!this.takeSymbol(')'))
      throw wrongQuery(this.peek().at, 'a comma or a closing bracket is missing')
    return values
  }

  private peek(): Token {
    return this.tokens[this.next] ?? { type: 'end', at: 0 }
  }

  private take(): Token {
    const token = this.peek()
    // The end stays where it is: whoever reads on finds it again.
    if (token.type !== 'end') this.next += 1
    return token
  }

  private takeWord(text: string): boolean {
    const token = this.peek()
    const found = token.type === 'word' && token.text === text
    if (found) this.next += 1
    return found
  }

  private takeSymbol(text: string): boolean {
    const token = this.peek()
    const found = token.type === 'symbol' && token.text === text
    if (found) this.next += 1
    return found
  }
}

function inTest(field: Field, tokens: readonly Token[], at: number): Test {
  if (field.type === 'instant') throw wrongQuery(at, 'compare an instant with < or >')
  return { op: 'in', values: tokens.map((token) => literal(field, token)) }
}

function literal(field: Field, token: Token): Literal {
  if (field.type === 'attribute') {
    if (token.type === 'string' || token.type === 'number') return token.value
    if (token.type === 'word' && (token.text === 'true' || token.text === 'false')) {
      return token.text === 'true'
    }
    throw wrongQuery(
      token.at,
      'a text in quotation marks, a number, true or false is expected here',
    )
  }
  if (field.type === 'number') return wholeNumber(token)
  if (token.type !== 'string') {
    throw wrongQuery(token.at, 'a text in quotation marks is expected here')
  }
  const allowed = closedList(field)
  if (allowed && !allowed.includes(token.value)) {
    throw wrongQuery(token.at, `one of ${allowed.join(', ')} is expected here`)
  }
  if (field.type === 'text' && field.name === 'id') {
    if (!uuid.test(token.value)) throw wrongQuery(token.at, 'an id is a UUID')
    return token.value.toLowerCase()
  }
  return token.value
}

function wholeNumber(token: Token): number {
  if (token.type !== 'number' || !Number.isSafeInteger(token.value)) {
    throw wrongQuery(token.at, 'a whole number is expected here')
  }
  return token.value
}

function likeTest(field: Field, token: Token, at: number): Test {
  const readable = field.type === 'text' && field.name !== 'id'
  if (!readable && field.type !== 'attribute' && field.type !== 'set' && field.type !== 'version') {
    throw wrongQuery(at, 'like compares text')
  }
  if (token.type !== 'string') {
    throw wrongQuery(token.at, 'a text in quotation marks is expected here; * stands for any text')
  }
  return { op: 'like', pieces: token.value.split('*') }
}

function orderTest(field: Field, order: Order, token: Token, at: number): Test {
  switch (field.type) {
    case 'instant':
      return { op: 'instant', order, at: instantOf(token) }
    case 'number':
      return { op: 'order', order, value: wholeNumber(token) }
    case 'attribute':
      if (token.type === 'number') return { op: 'order', order, value: token.value }
      throw wrongQuery(token.at, 'attributes are compared by < and > with numbers only')
    case 'version':
      if (token.type === 'string' && versionKey(token.value)) {
        return { op: 'order', order, value: token.value }
      }
      throw wrongQuery(token.at, 'a version like "2.4.0" is expected here')
    case 'text':
    case 'set':
    case 'flag':
      throw wrongQuery(at, 'this field is compared with =, !=, in or like')
  }
}

function instantOf(token: Token): { seconds: number } | { instant: Date } {
  if (token.type === 'duration') return { seconds: token.seconds }
  if (token.type === 'string' && instant.test(token.value)) {
    const at = new Date(token.value)
    if (!Number.isNaN(at.getTime())) return { instant: at }
  }
  throw wrongQuery(
    token.at,
    'a duration (7d, 12h, 30m) or an instant ("2026-11-26T08:00:00Z") is expected here',
  )
}
