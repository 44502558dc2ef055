import { z } from 'zod'

import { errorCodes } from '../errors.ts'
import { permissionsNeeded } from './access.ts'
import { openPaths } from './open-paths.ts'
import type { Route } from './route.ts'

type JsonObject = Record<string, unknown>

const problemStatuses = ['400', '401', '403', '404', '409', '429', 'default']

/**
 * The OpenAPI 3.1 document of routes and of what is beside them, the routes from the very schemas that parse requests: it cannot say anything else than what
 * the server does. `version` is that of the product.
 */
export function openApiDocument(
  routes: readonly Route[],
  about: { prefix: string; version: string },
): JsonObject {
  const paths: Record<string, JsonObject> = { ...openPaths }
  for (const route of routes) {
    const path = `${about.prefix}${route.path.replaceAll(/:(\w+)/g, '{$1}')}`
    paths[path] = { ...paths[path], [route.method]: operation(route) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Fleetseal',
      version: about.version,
      description:
        'Certificate identity, signed updates and instant cut-off for fleets of devices.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    security: [{ apiKey: [] }],
    paths,
    components: {
      securitySchemes: {
        apiKey: { type: 'http', scheme: 'bearer', description: 'An API key' },
        metricsToken: { type: 'http', scheme: 'bearer', description: 'Of the scraper of metrics' },
      },
      responses: {
        Problem: {
          description: 'Refused: RFC 9457, with a code from a closed list',
          content: {
            'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } },
          },
        },
      },
      schemas: { Problem: problemSchema },
    },
  }
}

const problemSchema = {
  type: 'object',
  required: ['type', 'code', 'title', 'status'],
  properties: {
    type: { type: 'string' },
    code: { type: 'string', enum: [...errorCodes, 'internal'] },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    requestId: { type: 'string' },
    issues: {
      type: 'array',
      items: {
        type: 'object',
        properties: { at: { type: 'string' }, message: { type: 'string' } },
      },
    },
  },
}

function operation(route: Route): JsonObject {
  const { params, query, body, response } = route.schemas
  const idempotency = {
    name: 'Idempotency-Key',
    in: 'header',
    required: false,
    description: 'The same key again creates nothing twice',
    schema: { type: 'string', minLength: 1, maxLength: 255 },
  }
  const success =
    route.status === 204
      ? { description: 'Done' }
      : {
          description: 'Done',
          content: answerContent(route, response),
        }
  return {
    operationId: operationId(route),
    summary: route.summary,
    description: `Needs ${permissionsNeeded(route.permission).join(', ')}`,
    tags: [route.path.split('/')[1] ?? ''],
    parameters: [
      ...parameters(params, 'path'),
      ...parameters(query, 'query'),
      ...(route.creates ? [idempotency] : []),
    ],
    ...requestBody(route, body),
    responses: {
      [route.status]: success,
      ...Object.fromEntries(
        problemStatuses.map((status) => [status, { $ref: '#/components/responses/Problem' }]),
      ),
    },
  }
}

function answerContent({ answers }: Route, response: z.ZodType): JsonObject {
  const given = Object.entries(answers ?? { 'application/json': response })
  return Object.fromEntries(
    given.map(([type, schema]) => [type, { schema: jsonSchema(schema, 'output') }]),
  )
}

function requestBody(route: Route, body: z.ZodType | undefined): JsonObject {
  if (body) {
    const content = { 'application/json': { schema: jsonSchema(body, 'input') } }
    return { requestBody: { required: true, content } }
  }
  if (route.upload === undefined) return {}
  const schema = { type: 'string', format: 'binary' }
  const content = Object.fromEntries([route.upload].flat().map((type) => [type, { schema }]))
  return { requestBody: { required: true, content } }
}

function parameters(schema: z.ZodType | undefined, place: 'path' | 'query'): JsonObject[] {
  if (!schema) return []
  const { properties = {}, required = [] } = jsonSchema(schema, 'input')
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    schema: property,
  }))
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output') {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' })
  return rest
}

/** `POST /groups/:groupId/actions` → `postGroupsByGroupIdActions`. */
function operationId({ method, path }: Route): string {
  const words = path.split('/').filter(Boolean)
  return words.reduce((name, word) => {
    const plain = word.startsWith(':') ? `by-${word.slice(1)}` : word
    return name + plain.replaceAll(/(?:^|-)(\w)/g, (_match, letter: string) => letter.toUpperCase())
  }, method as string)
}
