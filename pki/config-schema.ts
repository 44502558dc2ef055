/*
 * What a schema of a model's settings may say: a small and strict part of JSON Schema (docs/configuration.md). Everything in it is
 * bounded, and a keyword that is not known is refused rather than ignored, because what is ignored bounds nothing.
 */

export type Setting = string | number | boolean | Setting[] | { [name: string]: Setting }

type Leaf = 'description' | 'enum' | 'minimum' | 'maximum' | 'minLength' | 'maxLength'
interface Node {
  type: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean'
  properties: Map<string, Node>
  required: readonly string[]
  items: Node | undefined
  allowed: readonly (string | number)[] | undefined
  least: number
  most: number
}

/** Reads only what `readConfigSchema` made. */
export interface ConfigSchema {
  readonly root: Node
}

/** The bytes are no schema, or no settings. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** Bytes of a schema, of a fleet configuration, of a device's own settings. */
export const maxConfigBytes = 16_384
const maxDepth = 6
const maxNodes = 500
/** Of settings; no schema allows as much. */
const maxSettingsDepth = 32
const namePattern = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/

const keywords: Record<Node['type'], readonly (Leaf | 'properties' | 'required' | 'items')[]> = {
  object: ['properties', 'required'],
  array: ['items', 'minimum', 'maximum'],
  string: ['enum', 'minLength', 'maxLength'],
  integer: ['enum', 'minimum', 'maximum'],
  number: ['minimum', 'maximum'],
  boolean: [],
}
/** JSON Schema's own names for the bounds of a list. */
const listBounds: Record<string, Leaf> = { minItems: 'minimum', maxItems: 'maximum' }

/** Throws ConfigError, naming the place. */
export function readConfigSchema(bytes: Buffer): ConfigSchema {
  const count = { left: maxNodes }
  const root = readNode(parse(bytes), { where: 'schema', depth: 1, count })
  if (root.type !== 'object') throw new ConfigError('schema is not of an object')
  return { root }
}

/**
 * Settings as they travel: an object of at most 16 kB. Its own form only, as `JSON.stringify` gives it, when `isExact`, so that
 * nothing can be read in two ways. Throws ConfigError.
 */
export function readSettings(bytes: Buffer, { isExact }: { isExact: boolean }) {
  const value = parse(bytes)
  if (!isObject(value)) throw new ConfigError('Settings are an object')
  // Before anything walks through them: what is nested without end takes a device's agent down, again and again.
  if (isDeeper(value, maxSettingsDepth)) throw new ConfigError('Settings are nested too deep')
  if (isExact && JSON.stringify(value) !== bytes.toString('utf8')) {
    throw new ConfigError('Settings are not in their one form')
  }
  return value as { [name: string]: Setting }
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((one) => isDeeper(one, levels - 1))
}

/** What is wrong with the settings, by place; empty when the schema allows them. */
export function settingsProblems({ root }: ConfigSchema, settings: unknown): string[] {
  const problems: string[] = []
  check(root, settings, 'settings', (problem) => {
    if (problems.length < 20) problems.push(problem)
  })
  return problems
}

function parse(bytes: Buffer): unknown {
  if (bytes.length > maxConfigBytes) {
    throw new ConfigError(`${bytes.length} bytes, at most ${maxConfigBytes} are allowed`)
  }
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw new ConfigError('Not JSON', { cause })
  }
}

interface Place {
  where: string
  depth: number
  count: { left: number }
}

function readNode(value: unknown, place: Place): Node {
  const { where, depth, count } = place
  count.left -= 1
  if (depth > maxDepth || count.left < 0) throw new ConfigError(`${where}: too deep or too long`)
  if (!isObject(value)) throw new ConfigError(`${where} is not an object`)
  const { type, description, additionalProperties, ...rest } = value
  if (!isType(type)) throw new ConfigError(`${where}: ${String(type)} is no type`)
  if (description !== undefined && typeof description !== 'string') {
    throw new ConfigError(`${where}.description is not a text`)
  }
  // Closed anyway; it may be said, and nothing else may.
  if (additionalProperties !== undefined && additionalProperties !== false) {
    throw new ConfigError(`${where}.additionalProperties can only be false`)
  }
  const said = new Map(
    Object.entries(rest).map(([name, one]) => [
      type === 'array' ? (listBounds[name] ?? name) : name,
      one,
    ]),
  )
  const known: readonly string[] = keywords[type]
  const unknown = Object.keys(rest).find(
    (name) =>
      !known.includes(type === 'array' ? (listBounds[name] ?? `no ${name}`) : name) &&
      !(type === 'array' && name === 'items'),
  )
  if (unknown !== undefined) throw new ConfigError(`${where}: ${unknown} is not understood`)
  const properties = readProperties(said.get('properties'), place)
  const node: Node = {
    type,
    properties,
    required: readRequired(said.get('required'), properties, where),
    items: type === 'array' ? readNode(said.get('items'), inside(place, 'items')) : undefined,
    allowed: readAllowed(said.get('enum'), type, where),
    ...readBounds(type, said, where),
  }
  return node
}

function inside({ where, depth, count }: Place, name: string): Place {
  return { where: `${where}.${name}`, depth: depth + 1, count }
}

function readProperties(value: unknown, place: Place): Map<string, Node> {
  if (value === undefined) return new Map()
  if (!isObject(value)) throw new ConfigError(`${place.where}.properties is not an object`)
  return new Map(
    Object.entries(value).map(([name, node]) => {
      if (!namePattern.test(name)) throw new ConfigError(`${place.where}: ${name} is no name`)
      return [name, readNode(node, inside(place, name))]
    }),
  )
}

function readRequired(
  value: unknown,
  properties: ReadonlyMap<string, Node>,
  where: string,
): string[] {
  const names: unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [undefined]
  return names.map((name) => {
    if (typeof name === 'string' && properties.has(name)) return name
    throw new ConfigError(`${where}.required names what is not there`)
  })
}

function readAllowed(
  value: unknown,
  type: Node['type'],
  where: string,
): (string | number)[] | undefined {
  if (value === undefined) return undefined
  const kind = type === 'string' ? 'string' : 'number'
  if (!Array.isArray(value) || value.length === 0 || value.length > 64) {
    throw new ConfigError(`${where}.enum is not a list of 1 to 64`)
  }
  return value.map((one: unknown) => {
    if (typeof one === kind && (typeof one === 'string' || typeof one === 'number')) return one
    throw new ConfigError(`${where}.enum has a value of another type`)
  })
}

/** A number without limits, a text or a list without a length: nothing that is received may be unbounded. */
function readBounds(
  type: Node['type'],
  said: ReadonlyMap<string, unknown>,
  where: string,
): { least: number; most: number } {
  if (type === 'object' || type === 'boolean' || said.has('enum')) return { least: 0, most: 0 }
  const [low, high] = type === 'string' ? ['minLength', 'maxLength'] : ['minimum', 'maximum']
  const isCount = type === 'string' || type === 'array'
  const least = said.get(low) ?? (isCount ? 0 : undefined)
  const most = said.get(high)
  if (!isFinite(least) || !isFinite(most) || least > most || (isCount && most > 4_096)) {
    throw new ConfigError(`${where} has no bounds, or none that can be met`)
  }
  return { least, most }
}

function check(node: Node, value: unknown, where: string, report: (problem: string) => void): void {
  switch (node.type) {
    case 'object':
      return checkObject(node, value, where, report)
    case 'array':
      if (!Array.isArray(value)) return report(`${where} is not a list`)
      checkBounds(node, value.length, `the length of ${where}`, report)
      for (const [index, item] of value.slice(0, node.most).entries()) {
        if (node.items) check(node.items, item, `${where}[${index}]`, report)
      }
      return
    case 'string':
      if (typeof value !== 'string') return report(`${where} is not a text`)
      return checkScalar(node, value, value.length, { where, report })
    case 'integer':
      if (!Number.isSafeInteger(value)) return report(`${where} is not a whole number`)
      return checkScalar(node, Number(value), Number(value), { where, report })
    case 'number':
      if (!isFinite(value)) return report(`${where} is not a number`)
      return checkScalar(node, value, value, { where, report })
    case 'boolean':
      if (typeof value !== 'boolean') report(`${where} is not true or false`)
      return
    default:
      return node.type satisfies never
  }
}

function checkObject(
  node: Node,
  value: unknown,
  where: string,
  report: (problem: string) => void,
): void {
  if (!isObject(value)) return report(`${where} is not an object`)
  for (const [name, member] of Object.entries(value)) {
    const known = node.properties.get(name)
    if (known) check(known, member, `${where}.${name}`, report)
    else report(`${where}.${name} is not a setting`)
  }
  for (const name of node.required) {
    if (!Object.hasOwn(value, name)) report(`${where}.${name} is missing`)
  }
}

function checkScalar(
  node: Node,
  value: string | number,
  measure: number,
  { where, report }: { where: string; report: (problem: string) => void },
): void {
  if (!node.allowed) return checkBounds(node, measure, where, report)
  if (!node.allowed.includes(value)) report(`${where} is none of ${node.allowed.join(', ')}`)
}

function checkBounds(
  { least, most }: Node,
  measure: number,
  where: string,
  report: (problem: string) => void,
): void {
  if (measure < least || measure > most) report(`${where} is not within ${least} to ${most}`)
}

function isType(value: unknown): value is Node['type'] {
  return typeof value === 'string' && Object.hasOwn(keywords, value)
}

function isFinite(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
