import type { ErrorCode } from '../errors.ts'
import type { JsonObject } from './openapi-components.ts'
import { type ProblemCode, problemHelp, problemType } from './problem-help.ts'
import { problems } from './problem.ts'
import type { Route } from './route.ts'

const statusOf = (code: ProblemCode) => (code === 'internal' ? 500 : problems[code][0])

/** Everything that a call may be refused with: what its form makes possible, and what it says of itself. */
export function problemCodes(route: Omit<Route, 'permission' | 'scope'>): ProblemCode[] {
  const { params, body } = route.schemas
  const changes = route.method !== 'get'
  const codes: (ProblemCode | false)[] = [
    'not-authenticated',
    'not-allowed',
    'rate-limited',
    'internal',
    'busy',
    // Also for two credentials at once, of which one would be a guess.
    'invalid-request',
    params !== undefined && 'not-found',
    route.stepUp !== undefined && 'step-up-needed',
    // Two at the same moment may want the same.
    changes && 'conflict',
    body !== undefined && 'too-large',
    body !== undefined && 'unsupported-media-type',
    route.creates && 'idempotency-mismatch',
    route.versioned !== undefined && changes && 'precondition-failed',
    ...route.refuses,
  ]
  return [...new Set(codes.filter((code) => code !== false))].toSorted()
}

/** The refusals of a call, by status, as references to components that `shared` takes up. */
export function problemAnswers(codes: readonly ProblemCode[], shared: JsonObject): JsonObject {
  const byStatus = Map.groupBy(codes, statusOf)
  return Object.fromEntries(
    [...byStatus].map(([status, these]) => {
      const name = these.map(pascal).join('Or')
      shared[name] ??= problemAnswer(status, these)
      return [String(status), { $ref: `#/components/responses/${name}` }]
    }),
  )
}

function problemAnswer(status: number, codes: readonly ProblemCode[]): JsonObject {
  const [first] = codes
  const waits = status === 429 || status === 503
  return {
    description: codes.map((code) => `\`${code}\`: ${problemHelp[code].meaning}`).join('\n\n'),
    headers: headers(['X-Request-Id', ...(waits ? ['Retry-After'] : [])]),
    content: {
      'application/problem+json': {
        schema: {
          allOf: [
            { $ref: '#/components/schemas/Problem' },
            {
              type: 'object',
              properties: { code: { enum: codes }, status: { const: status } },
            },
          ],
        },
        ...(first === undefined ? {} : { example: problemExample(first) }),
      },
    },
  }
}

function problemExample(code: ProblemCode): JsonObject {
  return {
    type: problemType(code),
    code,
    title: code === 'internal' ? 'Internal error' : problems[code][1],
    status: statusOf(code),
    ...(code === 'internal' ? {} : { detail: problemHelp[code].meaning }),
    requestId: '5c0f7c6e-7f2c-4f53-9d0c-3d4e3a0a6b1f',
  }
}

export function headers(names: readonly string[]): JsonObject {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))
}

export const headerComponents: JsonObject = {
  'X-Request-Id': {
    description:
      'Names the request in the log and in the audit log: the one that was sent, or a new one',
    schema: { type: 'string' },
  },
  'Retry-After': {
    description: 'Seconds to wait before the next attempt',
    schema: { type: 'integer', minimum: 1 },
  },
  RateLimit: {
    description: 'What is left of the rate: `r` requests in the next `t` seconds',
    schema: { type: 'string', examples: ['"api"; r=599; t=6'] },
  },
  'RateLimit-Policy': {
    description: 'The rate: `q` requests in `w` seconds, of one credential',
    schema: { type: 'string', examples: ['"api"; q=600; w=6'] },
  },
  ETag: {
    description: 'The version of the thing: send it back as `If-Match` with a change',
    schema: { type: 'string', pattern: '^"[^"]+"$', examples: ['"7"'] },
  },
}

export const problemSchema: JsonObject = {
  type: 'object',
  description:
    'RFC 9457. Beside these members there are facts of the refusal, such as `state` or `needs`.',
  required: ['type', 'code', 'title', 'status'],
  properties: {
    type: {
      type: 'string',
      format: 'uri-reference',
      description: 'A page that says what it means, and what to do next',
    },
    code: { type: 'string', description: 'From a closed list, which never changes meaning' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string', description: 'For people' },
    requestId: { type: 'string' },
    issues: {
      type: 'array',
      description: 'What is wrong with which field',
      items: {
        type: 'object',
        properties: { at: { type: 'string' }, message: { type: 'string' } },
      },
    },
  },
}

function pascal(code: ErrorCode | 'internal'): string {
  return code.replaceAll(/(?:^|-)(\w)/g, (_match, letter: string) => letter.toUpperCase())
}
