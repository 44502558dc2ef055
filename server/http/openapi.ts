import type { z } from 'zod'

import { permissionsNeeded } from './access.ts'
import { browserPaths } from './browser-paths.ts'
import { openPaths } from './open-paths.ts'
import type { OpenRoute } from './open-route.ts'
import {
  headerComponents,
  headers,
  problemAnswers,
  problemCodes,
  problemSchema,
} from './openapi-answers.ts'
import { Components, type JsonObject, type SchemaNames } from './openapi-components.ts'
import { addExamples } from './openapi-examples.ts'
import { readSecurity, securityOf, securitySchemes } from './openapi-security.ts'
import { tags } from './openapi-tags.ts'
import { webhooksSection } from './openapi-webhooks.ts'
import type { Route } from './route.ts'

interface About {
  prefix: string
  /** Of the product. */
  version: string
  names: SchemaNames
  /** Routes that need nothing to be shown. */
  open?: readonly OpenRoute[]
  /** What is sent to webhooks, by type of event. */
  messages?: Readonly<Record<string, z.ZodType>>
  /** Refuses fields of answers that are not described, to find them. What is published leaves room for a later version. */
  closed?: boolean
}

interface Making {
  components: Components
  responses: JsonObject
}

/**
 * The OpenAPI 3.1 document of routes and of what is beside them, the routes from the very schemas that parse requests: it cannot say anything else than what
 * the server does.
 */
export function openApiDocument(routes: readonly Route[], about: About): JsonObject {
  const components = new Components(about.names, about.closed === true)
  const responses: JsonObject = {}
  const paths: Record<string, JsonObject> = { ...openPaths, ...structuredClone(browserPaths) }
  for (const route of routes) {
    const path = `${about.prefix}${route.path.replaceAll(/:(\w+)/g, '{$1}')}`
    paths[path] = { ...paths[path], [route.method]: operation(route, { components, responses }) }
  }
  for (const route of about.open ?? []) {
    paths[`${about.prefix}${route.path}`] = {
      [route.method]: openOperation(route, { components, responses }),
    }
  }
  // For what lies beside the routes.
  problemAnswers(['not-authenticated', 'not-found', 'rate-limited', 'internal', 'busy'], responses)
  const webhooks = webhooksSection(about.messages ?? {}, components)
  const settled = components.settle({ paths, webhooks })
  addExamples(settled.document['paths'] as JsonObject, settled.schemas)
  for (const route of [...routes, ...(about.open ?? [])])
    dropRefused(route, settled.document, about.prefix)
  return {
    openapi: '3.1.0',
    info: {
      title: 'Fleetseal',
      version: about.version,
      description,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    security: readSecurity,
    tags: Object.entries(tags).map(([name, words]) => ({ name, description: words })),
    ...settled.document,
    components: {
      securitySchemes,
      headers: headerComponents,
      parameters: {
        'Idempotency-Key': idempotencyKey,
        'If-Match': ifMatch,
      },
      responses,
      schemas: { Problem: problemSchema, ...settled.schemas },
    },
  }
}

/** Parts of a body may have to fit each other in a way that no schema says: an example that would be refused is none. */
function dropRefused(route: OpenRoute, document: JsonObject, prefix: string): void {
  const path = `${prefix}${route.path.replaceAll(/:(\w+)/g, '{$1}')}`
  const media = [
    'paths',
    path,
    route.method,
    'requestBody',
    'content',
    'application/json',
  ].reduce<unknown>(
    (at, name) => (typeof at === 'object' && at !== null ? Reflect.get(at, name) : undefined),
    document,
  )
  if (typeof media !== 'object' || media === null || !('example' in media)) return
  if (route.schemas.body?.safeParse(media.example).success !== true) delete media.example
}

const description = `Certificate identity, signed updates and instant cut-off for fleets of devices.

Lists come in pages: \`{"items": […], "nextCursor": …}\`, the next one with \`?cursor=\`. A refusal is a problem (RFC 9457) whose \`code\` is from a closed list.
\`Idempotency-Key\` makes a POST that creates something safe to repeat; \`If-Match\` makes a change depend on what was read. Answers may get more fields.`

const idempotencyKey = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description: 'The same key again creates nothing twice',
  schema: { type: 'string', pattern: '^[\\x21-\\x7e]{1,255}$' },
}
const ifMatch = {
  name: 'If-Match',
  in: 'header',
  required: false,
  description:
    'The `ETag` of what was read: the change is refused (412) when it is another one now',
  schema: { type: 'string', examples: ['"7"'] },
}
const shared = (name: string) => ({ $ref: `#/components/parameters/${name}` })

function operation(route: Route, making: Making): JsonObject {
  const { params, query } = route.schemas
  const { components, responses } = making
  const changes = route.method !== 'get'
  const security = securityOf(route)
  return {
    ...(security === undefined ? {} : { security }),
    operationId: operationId(route),
    summary: route.summary,
    description: `Needs ${permissionsNeeded(route.permission).join(', ')}`,
    tags: [route.path.split('/')[1] ?? ''],
    parameters: [
      ...parameters(params && components.schema(params, 'input'), 'path'),
      ...parameters(query && components.schema(query, 'input'), 'query'),
      ...(route.creates ? [shared('Idempotency-Key')] : []),
      ...(route.versioned && changes && !route.creates ? [shared('If-Match')] : []),
    ],
    ...requestBody(route, components),
    responses: {
      [route.status]: success(route, components),
      ...nothingMore(route),
      ...problemAnswers(problemCodes(route), responses),
    },
  }
}

function openOperation(route: OpenRoute, { components, responses }: Making): JsonObject {
  const schema = components.schema(route.schemas.response, 'output')
  return {
    operationId: operationId(route),
    summary: route.summary,
    description: 'Open to everybody',
    security: [],
    tags: [route.path.split('/')[1] ?? ''],
    parameters: [],
    ...requestBody(route, components),
    responses: {
      [route.status]: {
        description: 'Done',
        headers: headers(['X-Request-Id']),
        content: { 'application/json': { schema } },
      },
      ...problemAnswers(problemCodes(route), responses),
    },
  }
}

/** Who watched to the end and asks again is told not to come back (HTML section 9.2.3). */
function nothingMore({ answers }: Route): JsonObject {
  if (!answers || !('text/event-stream' in answers)) return {}
  return { 204: { description: 'Nothing more comes', headers: headers(['X-Request-Id']) } }
}

function success(route: Route, components: Components): JsonObject {
  const hasTag = route.versioned !== undefined && route.status !== 204
  const always = ['X-Request-Id', 'RateLimit', 'RateLimit-Policy']
  const answer = {
    description: 'Done',
    headers: headers([...always, ...(hasTag ? ['ETag'] : [])]),
  }
  if (route.status === 204) return answer
  const given = Object.entries<z.ZodType>(
    route.answers ?? { 'application/json': route.schemas.response },
  )
  return {
    ...answer,
    content: Object.fromEntries(
      given.map(([type, schema]) => [type, { schema: components.schema(schema, 'output') }]),
    ),
  }
}

function requestBody(
  route: Omit<Route, 'permission' | 'scope'>,
  components: Components,
): JsonObject {
  const { body } = route.schemas
  if (body) {
    const content = {
      'application/json': {
        schema: components.schema(body, 'input'),
        ...(route.example === undefined ? {} : { example: route.example }),
      },
    }
    return { requestBody: { required: true, content } }
  }
  if (route.upload === undefined) return {}
  const schema = { type: 'string', format: 'binary' }
  const content = Object.fromEntries([route.upload].flat().map((type) => [type, { schema }]))
  return { requestBody: { required: true, content } }
}

function parameters(schema: JsonObject | undefined, place: 'path' | 'query'): JsonObject[] {
  if (!schema) return []
  const required: unknown = schema['required']
  const isRequired = (name: string) => Array.isArray(required) && required.includes(name)
  return Object.entries(schema['properties'] ?? {}).map(([name, property]) => ({
    name,
    in: place,
    required: place === 'path' || isRequired(name),
    schema: property as unknown,
  }))
}

/** `POST /groups/:groupId/actions` → `postGroupsByGroupIdActions`. */
function operationId({ method, path }: Pick<Route, 'method' | 'path'>): string {
  const words = path.split('/').filter(Boolean)
  return words.reduce((name, word) => {
    const plain = word.startsWith(':') ? `by-${word.slice(1)}` : word
    return name + plain.replaceAll(/(?:^|-)(\w)/g, (_match, letter: string) => letter.toUpperCase())
  }, method as string)
}
