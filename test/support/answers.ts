import formats from 'ajv-formats'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'

import { openRoutes, routes } from '../../server/http/app.ts'
import { openApiDocument } from '../../server/http/openapi.ts'
import { schemaNames, webhookMessages } from '../../server/http/schema-names.ts'

/*
 * Holds every answer that a test gets against the OpenAPI document: its status is one that the call may have, its body is what that status promises, with no
 * field that is not described, and its headers are there. A test that asks the interface fails when it is answered something else.
 */

interface Described {
  headers?: Record<string, unknown>
  content?: Record<string, { schema: object }>
}
interface Operation {
  responses: Record<string, Described & { $ref?: string }>
}
interface Document {
  paths: Record<string, Record<string, Operation>>
  components: { responses: Record<string, Described> }
}

export const document = openApiDocument(routes, {
  prefix: '/api/v1',
  version: '0.0.0',
  names: schemaNames,
  open: openRoutes,
  messages: webhookMessages,
  closed: true,
}) as unknown as Document

const ajv = new Ajv2020({ strict: false, allErrors: false, validateFormats: true })
formats.default(ajv, ['uuid', 'date-time', 'uri', 'uri-reference', 'ipv4', 'ipv6', 'email'])
ajv.addFormat('binary', true)
ajv.addSchema(document, 'openapi')

const patterns = Object.entries(document.paths).map(([template, operations]) => ({
  pattern: new RegExp(
    `^${template.replaceAll(/\{\w+\}/g, '[^/]+').replaceAll('.', String.raw`\.`)}$`,
  ),
  isPlain: !template.includes('{'),
  template,
  operations,
}))
const inOrder = [
  ...patterns.filter(({ isPlain }) => isPlain),
  ...patterns.filter((one) => !one.isPlain),
]

const compiled = new Map<string, ValidateFunction>()

export interface Answer {
  method: string
  /** Of the request, with or without a query. */
  path: string
  status: number
  headers: Headers
  text: string
}

/** What is wrong with an answer by the document; undefined: nothing, or it is none of a call that is described (404 and 405 are for those). */
export function wrongAnswer(answer: Answer): string | undefined {
  const { method, status, headers } = answer
  const [path = ''] = answer.path.split('?')
  const found = inOrder.find(({ pattern }) => pattern.test(path))
  const verb = method === 'HEAD' ? 'get' : method.toLowerCase()
  const operation = found?.operations[verb]
  if (!found || !operation) return undefined
  const name = `${method} ${found.template}`
  const described = resolved(operation.responses[String(status)])
  if (!described)
    return `${name} answered ${status}, which is not described: ${answer.text.slice(0, 300)}`
  const at: [string, string] = [found.template, verb]
  const wrong = method === 'HEAD' ? undefined : wrongBody(answer, { name, described, at })
  // Some tests mount routes alone, without what the app sends with every answer.
  const expected = headers.has('x-request-id') ? Object.keys(described.headers ?? {}) : []
  // Of what has no version yet there is no tag.
  const missing = expected.filter((header) => header !== 'ETag' && !headers.has(header))
  return (
    wrong ??
    (missing.length > 0 ? `${name} answered ${status} without ${missing.join(', ')}` : undefined)
  )
}

function wrongBody(
  { status, headers, text }: Answer,
  { name, described, at }: { name: string; described: Described; at: [string, string] },
): string | undefined {
  if (!described.content) return text === '' ? undefined : `${name} answered ${status} with a body`
  const type = headers.get('content-type')?.split(';')[0] ?? ''
  if (!described.content[type]) return `${name} answered ${status} as ${type || 'nothing'}`
  if (!/[/+]json$/.test(type)) return undefined
  const reference = operationReference(at, status, type)
  const validate = compiled.get(reference) ?? ajv.compile({ $ref: reference })
  compiled.set(reference, validate)
  if (validate(JSON.parse(text))) return undefined
  return `${name} answered ${status} with a body that is not described: ${ajv.errorsText(validate.errors)} in ${text.slice(0, 500)}`
}

function operationReference(
  [template, verb]: [string, string],
  status: number,
  type: string,
): string {
  const { $ref } = document.paths[template]?.[verb]?.responses[String(status)] ?? {}
  const answer = $ref ?? `#/paths/${escaped(template)}/${verb}/responses/${status}`
  return `openapi${answer}/content/${escaped(type)}/schema`
}

function resolved(described: (Described & { $ref?: string }) | undefined): Described | undefined {
  const name = described?.$ref?.split('/').at(-1)
  return name === undefined ? described : document.components.responses[name]
}

/** A part of a JSON pointer, within a URI. */
function escaped(part: string): string {
  return encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))
}
