import { z } from 'zod'

export type JsonObject = Record<string, unknown>
type Direction = 'input' | 'output'
export type SchemaNames = z.core.$ZodRegistry<{ id: string }>

/** Of JSON Schema or of OpenAPI; the validators of others know no more of them. */
const plainFormats = new Set(['uuid', 'date-time', 'uri', 'binary', 'ipv4', 'ipv6', 'email'])

/** What occurs hundreds of times, with a long pattern. */
const scalars: readonly (readonly [name: string, schema: z.ZodType, about: JsonObject])[] = [
  ['Id', z.uuid(), { description: 'A UUID', examples: ['01890a5d-ac96-774b-bcce-b302099a8057'] }],
  [
    'Instant',
    z.iso.datetime(),
    { description: 'RFC 3339, in UTC', examples: ['2026-12-01T08:30:00Z'] },
  ],
  [
    'LocalInstant',
    z.iso.datetime({ offset: true }),
    { description: 'RFC 3339, with any offset', examples: ['2026-12-01T09:30:00+01:00'] },
  ],
]
const scalarSchemas = scalars.map(([name, schema, about]) => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema)
  return { name, pattern: rest.pattern, format: rest.format, schema: { ...rest, ...about } }
})

/**
 * Turns the schemas of routes into JSON Schema (2020-12). A schema that has a name becomes a component, once; one that means different things in a request
 * and in an answer (defaults, unknown fields) is called `…Input` in requests. An answer may get more fields in a later version, so it is not
 * closed; `closed` closes it, to find fields that nobody described.
 */
export class Components {
  readonly #names: SchemaNames
  readonly #isClosed: boolean
  readonly #found: Record<Direction, Map<string, JsonObject>> = {
    input: new Map(),
    output: new Map(),
  }

  constructor(names: SchemaNames, isClosed: boolean) {
    this.#names = names
    this.#isClosed = isClosed
  }

  /** With references that `settle` makes good when all schemas are known. */
  schema(schema: z.ZodType, io: Direction): JsonObject {
    const { $defs = {}, ...rest } = z.toJSONSchema(schema, {
      io,
      unrepresentable: 'any',
      metadata: this.#names,
    }) as JsonObject & { $defs?: Record<string, JsonObject> }
    for (const [name, definition] of Object.entries($defs)) {
      if (!this.#found[io].has(name)) this.#found[io].set(name, this.#tidy(definition, io))
    }
    return this.#tidy(rest, io)
  }

  /** The components, and a document in which all references lead to them. */
  settle(document: JsonObject): { document: JsonObject; schemas: JsonObject } {
    const { input, output } = this.#found
    const named = new Map<string, string>()
    for (const name of output.keys()) named.set(`output/${name}`, name)
    for (const name of input.keys()) {
      const isOther = output.has(name) && this.#isOther(name)
      named.set(`input/${name}`, isOther ? `${name}Input` : name)
    }
    const schemas: JsonObject = {}
    for (const io of ['input', 'output'] as const) {
      for (const [name, schema] of this.#found[io]) {
        schemas[named.get(`${io}/${name}`) ?? name] = withReferences(schema, named)
      }
    }
    for (const { name, schema } of scalarSchemas) schemas[name] = schema
    return {
      document: withReferences(document, named) as JsonObject,
      schemas: Object.fromEntries(
        Object.entries(schemas).toSorted(([one], [other]) => (one < other ? -1 : 1)),
      ),
    }
  }

  #isOther(name: string): boolean {
    const whole = (io: Direction) => JSON.stringify(this.#inlined({ $ref: `${io}/${name}` }, 0))
    return whole('input') !== whole('output')
  }

  #inlined(value: unknown, depth: number): unknown {
    if (depth > 40 || typeof value !== 'object' || value === null) return value
    if (Array.isArray(value)) return value.map((item) => this.#inlined(item, depth + 1))
    const reference = (value as JsonObject)['$ref']
    if (typeof reference === 'string') {
      const [io, name = ''] = reference.split('/')
      if (io === '#') return value
      return this.#inlined(this.#found[io === 'input' ? 'input' : 'output'].get(name), depth + 1)
    }
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, this.#inlined(item, depth + 1)]),
    )
  }

  #tidy(schema: unknown, io: Direction): JsonObject {
    return this.#tidied(schema, io) as JsonObject
  }

  #tidied(value: unknown, io: Direction): unknown {
    if (Array.isArray(value)) return value.map((item) => this.#tidied(item, io))
    if (typeof value !== 'object' || value === null) return value
    const { $schema: _, id: __, $ref, ...rest } = value as JsonObject
    // A property that is called `id` is a schema, a name given by us is not.
    const kept: JsonObject = typeof __ === 'object' ? { id: __, ...rest } : rest
    if (typeof $ref === 'string') kept['$ref'] = `${io}/${$ref.replace('#/$defs/', '')}`
    if (typeof kept['pattern'] === 'string') kept['pattern'] = portable(kept['pattern'])
    unfold(kept)
    const scalar = scalarSchemas.find(({ pattern }) => pattern === kept['pattern'])
    if (scalar && kept['type'] === 'string') {
      const { type: _type, format: _format, pattern: _pattern, ...beside } = kept
      return { $ref: `#/components/schemas/${scalar.name}`, ...beside }
    }
    if (typeof kept['format'] === 'string' && !plainFormats.has(kept['format'])) {
      delete kept['format']
    }
    if (kept['additionalProperties'] === false && io === 'output' && !this.#isClosed) {
      delete kept['additionalProperties']
    }
    return Object.fromEntries(
      Object.entries(kept).map(([key, item]) => [key, this.#tidied(item, io)]),
    )
  }
}

/** Classes of characters by property are known to ECMAScript and to few others that read a schema: the same ones by number. */
function portable(pattern: string): string {
  return pattern
    .replaceAll(String.raw`\p{Cc}`, String.raw`\u0000-\u001f\u007f-\u009f`)
    .replaceAll(String.raw`\p{Cs}`, String.raw`\ud800-\udfff`)
}

/** `z.uuid().lowercase()` comes as two patterns without a format: the first of them is named, the other stays. */
function unfold(schema: JsonObject): void {
  const patterns: unknown = schema['allOf']
  if (schema['type'] !== 'string' || !Array.isArray(patterns)) return
  const [first, second, ...more] = patterns.map((one: JsonObject) => one['pattern'])
  const isScalar = scalarSchemas.some(({ pattern }) => pattern === first)
  if (!isScalar || more.length > 0) return
  delete schema['allOf']
  schema['pattern'] = first
  if (second !== undefined) schema['allOf'] = [{ pattern: second }]
}

function withReferences(value: unknown, named: ReadonlyMap<string, string>): unknown {
  if (Array.isArray(value)) return value.map((item) => withReferences(item, named))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      const name = key === '$ref' && typeof item === 'string' ? named.get(item) : undefined
      return [key, name ? `#/components/schemas/${name}` : withReferences(item, named)]
    }),
  )
}
