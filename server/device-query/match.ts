import {
  boundOf,
  type DeviceQuery,
  type Field,
  type Literal,
  type Order,
  type Test,
} from './query.ts'
import { compareVersions, versionKey } from './version.ts'

/** What is known of one device, as much as a query can ask for. */
export interface DeviceFacts {
  id: string
  name: string
  serialNumber: string
  model: string | null
  state: string
  agent: string | null
  enrollmentProfile: string | null
  connected: boolean
  updateOptOut: boolean
  managed: boolean
  lastSeen: Date | null
  created: Date
  /** Ends of the certificates in use. */
  certificatesExpire: readonly Date[]
  /** Names. */
  groups: readonly string[]
  hardwareIds: readonly string[]
  attributes: Readonly<Record<string, Literal>>
  installed: readonly { component: string; version: string; build: number; svn: number }[]
}

/** Is the device one that the query asks for? Says what `matchingSql` says of the same facts (test/integration/device-query.test.ts). */
export function matches(query: DeviceQuery, facts: DeviceFacts, now: Date): boolean {
  switch (query.kind) {
    case 'all':
      return query.terms.every((term) => matches(term, facts, now))
    case 'any':
      return query.terms.some((term) => matches(term, facts, now))
    case 'compare': {
      const { field, test } = query
      const held = valuesOf(field, facts).some((value) => holds(field, test, value, now))
      return held !== query.negated
    }
  }
}

function valuesOf(field: Field, facts: DeviceFacts): readonly (Literal | Date)[] {
  switch (field.type) {
    case 'text':
      return present(facts[field.name])
    case 'flag':
      return facts[field.name] ? [true] : []
    case 'instant':
      if (field.name === 'certificate.expires') return facts.certificatesExpire
      return present(facts[field.name])
    case 'set':
      return field.name === 'group' ? facts.groups : facts.hardwareIds
    case 'attribute':
      return Object.hasOwn(facts.attributes, field.key) ? present(facts.attributes[field.key]) : []
    case 'version':
    case 'number':
      return facts.installed
        .filter(({ component }) => component === field.component)
        .map((runs) => (field.type === 'version' ? runs.version : runs[field.of]))
  }
}

function present<T>(value: T | null | undefined): T[] {
  return value === null || value === undefined ? [] : [value]
}

function holds(field: Field, test: Test, value: Literal | Date, now: Date): boolean {
  switch (test.op) {
    case 'exists':
      return true
    case 'in':
      return test.values.some((wanted) => wanted === value)
    case 'like':
      return typeof value === 'string' && isLike(value, test.pieces)
    case 'instant': {
      if (field.type !== 'instant' || !(value instanceof Date)) return false
      const { order, at } = boundOf(field.name, test, now)
      return inOrder(order, value.getTime() - at.getTime())
    }
    case 'order':
      return inOrder(test.order, difference(value, test.value))
  }
}

/** `value` minus `bound`; NaN, which is in no order, when they do not compare. */
function difference(value: Literal | Date, bound: number | string): number {
  if (typeof bound === 'number') return typeof value === 'number' ? value - bound : Number.NaN
  const [have, wanted] = [
    typeof value === 'string' ? versionKey(value) : undefined,
    versionKey(bound),
  ]
  return have && wanted ? compareVersions(have, wanted) : Number.NaN
}

function inOrder(order: Order, difference: number): boolean {
  switch (order) {
    case '<':
      return difference < 0
    case '<=':
      return difference <= 0
    case '>':
      return difference > 0
    case '>=':
      return difference >= 0
  }
}

/** Do the pieces stand in the text in order: the first at its start, the last at its end? Linear, whatever the pattern. */
function isLike(text: string, pieces: readonly string[]): boolean {
  const [first = '', ...rest] = pieces
  const last = rest.pop()
  if (last === undefined) return text === first
  if (!text.startsWith(first)) return false
  let at = first.length
  for (const piece of rest) {
    const found = text.indexOf(piece, at)
    if (found === -1) return false
    at = found + piece.length
  }
  return text.length - last.length >= at && text.endsWith(last)
}
