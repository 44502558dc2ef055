type JsonObject = Record<string, unknown>

const object = { type: 'object' }
const problem = (name: string) => ({ $ref: `#/components/responses/${name}` })
const page = { type: 'string', contentMediaType: 'text/html' }

function answer(description: string, mediaType: string, schema: JsonObject): JsonObject {
  return { description, content: { [mediaType]: { schema } } }
}

/** What `/readyz` says (readiness.ts). */
const readiness = (status: string) => ({
  type: 'object',
  required: ['status', 'checks', 'disk', 'metadata', 'webhooks'],
  properties: {
    status: { const: status },
    checks: {
      type: 'object',
      required: ['database', 'broker', 'authorities', 'identities', 'bus', 'disk'],
      additionalProperties: { type: 'string', description: '`ok`, or why not' },
    },
    brokers: {
      type: 'object',
      description:
        'With FLEETSEAL_BROKERS: broker processes wanted, and those that take devices now',
      required: ['wanted', 'running'],
      properties: { wanted: { type: 'integer' }, running: { type: 'integer' } },
    },
    disk: {
      enum: ['ok', 'low', 'full', 'unknown'],
      description: 'Room in the data directory; `low` and `full` by FLEETSEAL_DISK_…',
    },
    webhooks: {
      type: 'object',
      description: 'Receivers that take nothing at present, and since when the first',
      required: ['failing', 'since'],
      properties: {
        failing: { type: 'integer' },
        since: { anyOf: [{ $ref: '#/components/schemas/Instant' }, { type: 'null' }] },
      },
    },
    metadata: {
      type: 'object',
      required: ['imported', 'evaluation'],
      properties: {
        imported: { type: 'boolean' },
        evaluation: { type: 'boolean' },
        overdue: {
          type: 'array',
          items: {
            type: 'object',
            properties: {
              role: { type: 'string' },
              expiresAt: { type: 'string', format: 'date-time' },
            },
          },
        },
      },
    },
  },
})

const status = {
  type: 'object',
  required: ['status'],
  properties: { status: { const: 'ok' } },
}

function open(id: string, summary: string, more: JsonObject): JsonObject {
  return { get: { operationId: id, summary, tags: ['server'], parameters: [], ...more } }
}

/** Paths of the operators' listener that lie outside the interface, for the OpenAPI document. `app.ts` mounts just these. */
export const openPaths = {
  '/healthz': open('getHealthz', 'Whether the process runs', {
    description: 'Open to everybody',
    security: [],
    responses: { 200: answer('It runs', 'application/json', status) },
  }),
  '/readyz': open('getReadyz', 'Whether the server can do its work now', {
    description: 'Open to everybody; looked at once a second at most',
    security: [],
    responses: {
      200: answer('Ready', 'application/json', readiness('ready')),
      503: answer('Not ready, and why', 'application/json', readiness('not-ready')),
    },
  }),
  '/openapi.json': open('getOpenapi', 'This document', {
    description: 'Open to everybody',
    security: [],
    responses: { 200: answer('OpenAPI 3.1', 'application/json', object) },
  }),
  '/docs': open('getDocs', 'This document as a page', {
    description: 'Open to everybody',
    security: [],
    responses: { 200: answer('The page', 'text/html', page) },
  }),
  '/docs/problems': open('getDocsProblems', 'What refusals mean', {
    description: 'Open to everybody',
    security: [],
    responses: { 200: answer('The page', 'text/html', page) },
  }),
  '/docs/problems/{code}': open('getDocsProblemsByCode', 'What one refusal means', {
    description: 'Open to everybody; the `type` of a problem leads here',
    security: [],
    parameters: [
      {
        name: 'code',
        in: 'path',
        required: true,
        schema: { type: 'string' },
        example: 'not-found',
      },
    ],
    responses: { 200: answer('The page', 'text/html', page), 404: problem('NotFound') },
  }),
  '/metrics': open('getMetrics', 'Metrics in the text format of Prometheus', {
    description:
      'With the token of the file `metrics-token` in the data directory, or an API key that reads all devices',
    security: [{ apiKey: [] }, { metricsToken: [] }],
    responses: {
      200: answer('Metrics', 'text/plain', { type: 'string' }),
      401: problem('NotAuthenticated'),
      403: problem('NotAllowed'),
      429: problem('RateLimited'),
      500: problem('Internal'),
      503: problem('Busy'),
    },
  }),
} as const satisfies Record<string, JsonObject>

/** Those that `app.ts` mounts one by one; `docs.ts` has the pages. */
export type OpenPath = Exclude<keyof typeof openPaths, `/docs${string}`>
