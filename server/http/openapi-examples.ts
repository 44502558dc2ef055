import type { JsonObject } from './openapi-components.ts'

/** Texts for patterns that occur in requests: the first that fits is the example. */
const texts = [
  'example',
  '01890a5d-ac96-774b-bcce-b302099a8057',
  '2030-12-01T08:30:00Z',
  '2030-12-01',
  '1.2.0',
  '7',
  '22:00-06:00',
  '08:30',
  '198.51.100.0/24',
  '2001:db8::/32',
  'https://example.com/hook',
  'PT1H',
  'Europe/Berlin',
  'ZXhhbXBsZQ==',
  'a'.repeat(64),
  'a'.repeat(128),
  'shown-once-'.repeat(4).slice(0, 43),
]

/** What fields of these names hold, where their schema says only that it is text. */
const named: Readonly<Record<string, string>> = {
  name: 'pumps-north',
  serialNumber: 'SN-0001',
  model: 'pump-2',
  component: 'firmware',
  version: '1.2.0',
  reason: 'found opened on site',
  detail: 'as told by the device',
  description: 'Pumps of the northern plant',
  query: 'model = "pump-2"',
  zone: 'Europe/Berlin',
  url: 'https://example.com/hook',
  email: 'ada@example.com',
  code: '123456',
  actor: 'key:01890a5d-ac96-774b-bcce-b302099a8057',
  createdBy: 'key:01890a5d-ac96-774b-bcce-b302099a8057',
}

const maxDepth = 12

/** A value that a schema of the document allows, the same each time; undefined when none was found. */
export function exampleOf(schema: unknown, schemas: JsonObject, field = '', depth = 0): unknown {
  if (typeof schema !== 'object' || schema === null || depth > maxDepth) return undefined
  const one = schema as JsonObject
  const again = (part: unknown) => exampleOf(part, schemas, field, depth + 1)
  if (typeof one['$ref'] === 'string') {
    return again(schemas[one['$ref'].replace('#/components/schemas/', '')])
  }
  if ('const' in one) return one['const']
  if (Array.isArray(one['enum'])) return one['enum'][0] as unknown
  if ('default' in one) return one['default']
  if (Array.isArray(one['examples'])) return one['examples'][0] as unknown
  const choices = one['anyOf'] ?? one['oneOf']
  if (Array.isArray(choices)) return again(choices[0])
  const [type] = [one['type']].flat()
  switch (type) {
    case 'object':
      return objectExample(one, schemas, depth)
    case 'array':
      return arrayExample(one, again)
    case 'string':
      return textExample(one, field)
    case 'integer':
    case 'number':
      return Math.max(1, Number(one['minimum'] ?? 1), Number(one['exclusiveMinimum'] ?? 0))
    case 'boolean':
      return true
    case 'null':
      return null
    default:
      return undefined
  }
}

function arrayExample(schema: JsonObject, again: (part: unknown) => unknown): unknown[] {
  if (Array.isArray(schema['prefixItems'])) return schema['prefixItems'].map(again)
  const item = again(schema['items'])
  return item === undefined || schema['maxItems'] === 0 ? [] : [item]
}

function objectExample(schema: JsonObject, schemas: JsonObject, depth: number): JsonObject {
  const required = new Set(
    Array.isArray(schema['required']) ? (schema['required'] as string[]) : [],
  )
  const properties = (schema['properties'] ?? {}) as JsonObject
  const entries = [...required].map((name) => {
    const part = properties[name] ?? schema['additionalProperties']
    return [name, exampleOf(part, schemas, name, depth + 1)] as const
  })
  return Object.fromEntries(
    entries.map(([name, value]) => [name, value === undefined ? {} : value]),
  )
}

function textExample(schema: JsonObject, field: string): string | undefined {
  const patterns = [schema['pattern'], ...[schema['allOf'] ?? []].flat().map(patternOf)]
  const tests = patterns
    .filter((text) => typeof text === 'string')
    .map((text) => new RegExp(text, 'u'))
  const least = Number(schema['minLength'] ?? 0)
  const most = Number(schema['maxLength'] ?? Number.POSITIVE_INFINITY)
  const uri = schema['format'] === 'uri' ? ['https://example.com/hook'] : []
  const long = 'example '.repeat(10).slice(0, Math.max(least, 7)).trim().padEnd(least, '.')
  return [...uri, named[field], ...texts, long]
    .filter((text) => text !== undefined)
    .find(
      (text) =>
        text.length >= least && text.length <= most && tests.every((pattern) => pattern.test(text)),
    )
}

function patternOf(schema: unknown): unknown {
  return typeof schema === 'object' && schema !== null ? Reflect.get(schema, 'pattern') : undefined
}

/** Puts an example beside the schema of every JSON body and answer that has none; what has no example by its schema stays without. */
export function addExamples(paths: JsonObject, schemas: JsonObject): void {
  const media = (content: unknown) => {
    for (const [type, one] of Object.entries((content ?? {}) as JsonObject)) {
      const given = one as JsonObject
      if (type !== 'application/json' || 'example' in given) continue
      const example = exampleOf(given['schema'], schemas)
      if (example !== undefined) given['example'] = example
    }
  }
  for (const operations of Object.values(paths)) {
    for (const operation of Object.values(operations as JsonObject)) {
      const { requestBody, responses } = operation as JsonObject
      media((requestBody as JsonObject | undefined)?.['content'])
      for (const answer of Object.values((responses ?? {}) as JsonObject)) {
        media((answer as JsonObject)['content'])
      }
    }
  }
}
