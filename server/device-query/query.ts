/**
 * What a device query says, after parsing. There is no `not` in it: the parser moves every negation down to the comparisons, so
 * that both readers (SQL and memory) only ever negate one comparison, and a missing value makes a comparison false and its
 * negation true, never unknown.
 */
export type DeviceQuery =
  | { kind: 'all' | 'any'; terms: DeviceQuery[] }
  | { kind: 'compare'; negated: boolean; field: Field; test: Test }

export type Field =
  | { type: 'text'; name: TextField }
  | { type: 'flag'; name: FlagField }
  | { type: 'instant'; name: InstantField }
  /** Several values; a test holds when it holds for one of them. */
  | { type: 'set'; name: SetField }
  | { type: 'attribute'; key: string }
  | { type: 'version'; component: string }
  | { type: 'number'; component: string; of: 'build' | 'svn' }

export type TextField =
  | 'id'
  | 'name'
  | 'serialNumber'
  | 'model'
  | 'state'
  | 'agent'
  | 'enrollmentProfile'
export type FlagField = 'connected' | 'updateOptOut' | 'managed'
export type InstantField = 'lastSeen' | 'created' | 'certificate.expires'
export type SetField = 'group' | 'hardwareIds'

export type Order = '<' | '<=' | '>' | '>='
export type Literal = string | number | boolean

export type Test =
  | { op: 'in'; values: Literal[] }
  /** Pieces of text that must stand in this order, with anything between two of them. */
  | { op: 'like'; pieces: string[] }
  | { op: 'order'; order: Order; value: number | string }
  /** `seconds` from now: into the past for what was, into the future for what will be. */
  | { op: 'instant'; order: Order; at: { seconds: number } | { instant: Date } }
  | { op: 'exists' }

/** Does the answer change by itself, without the device saying anything new? */
export function dependsOnTime(query: DeviceQuery): boolean {
  if (query.kind !== 'compare') return query.terms.some(dependsOnTime)
  const { field } = query
  return field.type === 'instant' || (field.type === 'flag' && field.name === 'connected')
}

/** Does it ask for membership of groups? A group defined by groups could be defined by itself. */
export function asksForGroups(query: DeviceQuery): boolean {
  if (query.kind !== 'compare') return query.terms.some(asksForGroups)
  return query.field.type === 'set' && query.field.name === 'group'
}

/** Does it ask for groups or enrollment profiles by name? Not everybody may know of all of them. */
export function namesGroups(query: DeviceQuery): boolean {
  if (query.kind !== 'compare') return query.terms.some(namesGroups)
  const { field } = query
  return (
    (field.type === 'set' && field.name === 'group') ||
    (field.type === 'text' && field.name === 'enrollmentProfile')
  )
}

/** A comparison of ages reads the other way round than one of instants: older is earlier. */
export const mirrored = { '<': '>', '<=': '>=', '>': '<', '>=': '<=' } as const

/** What a duration in a query is counted towards: the past for what was, the future for what will be. */
export const directionOf = { lastSeen: -1, created: -1, 'certificate.expires': 1 } as const

/**
 * The instant that an instant test compares with, and the direction of the comparison: `lastSeen > 7d` (longer ago than that)
 * is `lastSeen` before now − 7 d; `certificate.expires < 30d` is an end before now + 30 d.
 */
export function boundOf(
  name: InstantField,
  test: { order: Order; at: { seconds: number } | { instant: Date } },
  now: Date,
): { order: Order; at: Date } {
  if ('instant' in test.at) return { order: test.order, at: test.at.instant }
  const direction = directionOf[name]
  const at = new Date(now.getTime() + direction * test.at.seconds * 1000)
  return { order: direction === -1 ? mirrored[test.order] : test.order, at }
}
