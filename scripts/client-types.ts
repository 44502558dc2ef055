/** TypeScript types for an OpenAPI 3.1 document, in the form that openapi-fetch reads: for the part of JSON Schema that the server's description is made of. */

type Json = Record<string, unknown>

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [])
const record = (value: unknown): Json => (isObject(value) ? value : {})

/**
 * @param document with all schemas in `components.schemas`
 * @param prefix of the paths that are described; it is left out, as part of the base URL
 * @throws Error for a keyword that has no counterpart here
 */
export function clientTypes(document: Json, prefix: string): string {
  const schemas = Object.entries(record(record(document['components'])['schemas']))
  const responses = record(record(document['components'])['responses'])
  const named = schemas.map(
    ([name, schema]) => `${comment(schema)}export type ${name} = ${typeOf(schema)}\n`,
  )
  const described = Object.entries(record(document['paths'])).filter(([path]) =>
    path.startsWith(`${prefix}/`),
  )
  const creating = described
    .filter(([, operations]) => creates(record(record(operations)['post'])))
    .map(([path]) => `'${path.slice(prefix.length)}',`)
  const paths = described.map(([path, operations]) => {
    const verbs = Object.entries(record(operations)).map(
      ([verb, operation]) =>
        `${comment(operation)}${verb}: ${operationType(record(operation), responses)}`,
    )
    return `'${path.slice(prefix.length)}': {\n${verbs.join('\n')}\n}`
  })
  return indented(
    `${wrappers}\n${named.join('\n')}\n/** Where a POST creates something, once for each \`Idempotency-Key\`. */\nexport const creating: ReadonlySet<string> = new Set([\n${creating.join('\n')}\n])\n\n/** Every call, by path and method. */\nexport interface paths {\n${paths.join('\n')}\n}\n`,
  )
}

const wrappers = `interface Answered<T> {
  headers: Record<string, unknown>
  content: T
}
interface Refused<C extends string> {
  headers: Record<string, unknown>
  content: { 'application/problem+json': Problem & { code: C } }
}
`

function operationType(operation: Json, responses: Json): string {
  const parameters = list(operation['parameters']).map(record)
  const places = ['query', 'path'].map((place) => {
    const own = parameters.filter((one) => one['in'] === place)
    const fields = own.map((one) => {
      const isNeeded = one['required'] === true
      return `${key(String(one['name']))}${isNeeded ? '' : '?'}: ${typeOf(one['schema'])}${isNeeded ? '' : ' | undefined'}`
    })
    const isNeeded = own.some((one) => one['required'] === true)
    if (fields.length === 0) return `${place}?: never`
    return `${place}${isNeeded ? '' : '?'}: { ${fields.join('; ')} }`
  })
  const headers = parameters.flatMap((one) => {
    const name = /^#\/components\/parameters\/(.+)$/.exec(String(one['$ref']))?.[1]
    return name === undefined ? [] : [`'${name}'?: string`]
  })
  const header = headers.length > 0 ? `header?: { ${headers.join('; ')} }` : 'header?: never'
  const body = record(operation['requestBody'])
  const request =
    operation['requestBody'] === undefined
      ? 'requestBody?: never'
      : `requestBody: { content: ${contentType(record(body['content']))} }`
  const answers = Object.entries(record(operation['responses'])).map(([status, answer]) => {
    const shared = /^#\/components\/responses\/(.+)$/.exec(String(record(answer)['$ref']))?.[1]
    const described = shared === undefined ? record(answer) : record(responses[shared])
    const content = record(described['content'])
    const refusal = content['application/problem+json']
    return `${status}: ${refusal === undefined ? `Answered<${contentType(content)}>` : `Refused<${codesOf(refusal)}>`}`
  })
  return `{\nparameters: { ${[...places, header].join('; ')} }\n${request}\nresponses: {\n${answers.join('\n')}\n}\n}`
}

/** The codes that one status stands for. */
function codesOf(media: unknown): string {
  const [, narrowed] = list(record(record(media)['schema'])['allOf'])
  return typeOf(record(record(narrowed)['properties'])['code'])
}

function contentType(content: Json): string {
  const types = Object.entries(content).map(([type, media]) => {
    const schema = record(record(media)['schema'])
    return `'${type}': ${schema['format'] === 'binary' ? 'Blob' : typeOf(schema)}`
  })
  return types.length === 0 ? '{ "application/json"?: never }' : `{ ${types.join('; ')} }`
}

function creates(operation: Json): boolean {
  return list(operation['parameters']).some(
    (one) => record(one)['$ref'] === '#/components/parameters/Idempotency-Key',
  )
}

/** What constrains a value further and says nothing about its type. */
const bounds = new Set(
  'pattern minLength maxLength minimum maximum minItems maxItems default description examples format contentEncoding contentMediaType not uniqueItems multipleOf exclusiveMinimum exclusiveMaximum title'.split(
    ' ',
  ),
)

function typeOf(schema: unknown): string {
  if (schema === true || schema === undefined) return 'unknown'
  if (schema === false) return 'never'
  const { type, $ref, anyOf, oneOf, allOf, enum: values, const: value, ...rest } = record(schema)
  const parts: string[] = []
  if (typeof $ref === 'string') parts.push($ref.replace('#/components/schemas/', ''))
  if (value !== undefined) parts.push(JSON.stringify(value))
  else if (Array.isArray(values)) parts.push(values.map((one) => JSON.stringify(one)).join(' | '))
  else if (type !== undefined)
    parts.push(
      [type]
        .flat()
        .map((one) => plain(typeof one === 'string' ? one : '', rest))
        .join(' | '),
    )
  const union = anyOf ?? oneOf
  if (Array.isArray(union)) parts.push(union.map(typeOf).join(' | '))
  for (const one of list(allOf)) {
    const part = typeOf(one)
    if (part !== 'unknown') parts.push(part)
  }
  const known = [
    'properties',
    'required',
    'additionalProperties',
    'propertyNames',
    'items',
    'prefixItems',
  ]
  const strange = Object.keys(rest).filter((name) => !bounds.has(name) && !known.includes(name))
  if (strange.length > 0) throw new Error(`No type for ${strange.join(', ')}`)
  if (parts.length === 0)
    return type === undefined && rest['properties'] ? plain('object', rest) : 'unknown'
  return parts
    .map((part) => (part.includes(' | ') && parts.length > 1 ? `(${part})` : part))
    .join(' & ')
}

function plain(type: string, schema: Json): string {
  switch (type) {
    case 'string':
    case 'boolean':
    case 'null':
      return type
    case 'integer':
    case 'number':
      return 'number'
    case 'array':
      return arrayType(schema)
    case 'object':
      return objectType(schema)
    default:
      throw new Error(`No type for the type ${type}`)
  }
}

function arrayType({ items, prefixItems }: Json): string {
  if (Array.isArray(prefixItems)) return `[${prefixItems.map(typeOf).join(', ')}]`
  return `(${typeOf(items)})[]`
}

function objectType({ properties, required, additionalProperties, propertyNames }: Json): string {
  const needed = new Set(list(required))
  const fields = Object.entries(record(properties)).map(([name, schema]) => {
    const isNeeded = needed.has(name)
    return `${comment(schema)}${key(name)}${isNeeded ? '' : '?'}: ${typeOf(schema)}${isNeeded ? '' : ' | undefined'}`
  })
  if (fields.length > 0) return `{\n${fields.join('\n')}\n}`
  if (additionalProperties === false) return 'Record<string, never>'
  const names = record(propertyNames)
  if (!Array.isArray(names['enum'])) return `Record<string, ${typeOf(additionalProperties)}>`
  const entries = `Record<${typeOf(names)}, ${typeOf(additionalProperties)}>`
  return needed.size > 0 ? entries : `Partial<${entries}>`
}

function key(name: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(name) ? name : `'${name}'`
}

function comment(described: unknown): string {
  const { summary, description } = record(described)
  const text = summary ?? description
  return typeof text === 'string' ? `/** ${text.replaceAll('*/', '')} */\n` : ''
}

/** Lines that stand as deep as they are nested. */
function indented(text: string): string {
  let depth = 0
  return text
    .split('\n')
    .map((line) => {
      const isComment = line.startsWith('/**')
      const closes = !isComment && /^[}\])]/.test(line) ? 1 : 0
      const result = line === '' ? '' : '  '.repeat(Math.max(0, depth - closes)) + line
      if (!isComment) depth += count(line, '{') - count(line, '}')
      return result
    })
    .join('\n')
}

function count(text: string, one: string): number {
  return text.split(one).length - 1
}
