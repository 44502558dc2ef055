import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'

import { openDirectoryStorage } from '../../server/artifacts/directory-storage.ts'
import { bootstrapAuthorities } from '../../server/authorities/bootstrap.ts'
import { loadAuthorities } from '../../server/authorities/load.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { routes } from '../../server/http/app.ts'
import type { Route } from '../../server/http/route.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

/*
 * Every call with bodies, queries and paths that a broken or hostile client might send: 4xx or a good answer, never a
 * 5xx, a crash or a hang. Seeded, so that a failure comes again.
 */
const seed = 20_300_101
const runsPerRoute = 25

let handle: DatabaseHandle
let api: TestApi
/** Ids that exist, so that not every request ends at a 404; by the name of the field or parameter that takes them. */
const ids: Record<string, string> = {}

beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
  await bootstrapAuthorities(api.ctx)
  api.ctx.authorities = await loadAuthorities(api.ctx)
  api.ctx.storage = await openDirectoryStorage(`${api.ctx.config.dataDir}/artifacts`)
  const made = async (kind: string, path: string, body: object) => {
    const reply = await api.call('POST', path, body)
    expect(reply.status, reply.text).toBe(201)
    ids[kind] = String(reply.body['id'])
  }
  await made('groupId', '/groups', { name: 'fuzz' })
  await made('deviceId', '/devices', { serialNumber: 'fuzz-1', groupId: ids['groupId'] })
  await made('profileId', '/enrollment-profiles', {
    name: 'fuzz',
    groupId: ids['groupId'],
    auth: { type: 'token' },
    registration: 'just-in-time',
  })
  await made('keyId', '/api-keys', { name: 'fuzz', role: 'viewer' })
  const upload = await fetch(`${api.url}/api/v1/artifacts?name=fuzz`, {
    method: 'PUT',
    headers: {
      Authorization: `Bearer ${api.keys.admin.secret}`,
      'Content-Type': 'application/octet-stream',
    },
    body: 'bytes',
  })
  ids['artifactId'] = z.object({ id: z.string() }).parse(await upload.json()).id
  await made('model', '/models', { name: 'fuzz', hardwareIds: ['fuzz-1'] })
  await made('rolloutId', '/rollouts', {
    name: 'fuzz',
    groupId: ids['groupId'],
    certificate: { issuedBefore: '2000-01-01T00:00:00Z' },
    phases: [{ percent: 100 }],
  })
})
afterAll(async () => {
  await api.ctx.storage[Symbol.asyncDispose]()
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const odd = fc.constantFrom<unknown>(
  null,
  true,
  0,
  -1,
  1e300,
  2 ** 53,
  2 ** 31,
  0.1,
  '',
  ' ',
  '\u0000',
  '\ud800',
  '\u202e',
  'x'.repeat(5_000),
  "'; drop table device; --",
  '%00',
  '../..',
  '2030-01-01T00:00:00Z',
  '9999-12-31T23:59:59Z',
  '0001-01-01T00:00:00Z',
  '-1',
  'NaN',
  [],
  {},
  [[]],
  { a: { b: [null] } },
)
const anything = fc.oneof(
  { weight: 3, arbitrary: odd },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 4 }) },
)

/** Mostly the id that a name asks for, now and then one of something else, or of nothing. */
const idFor = (name: string) =>
  fc.oneof(
    { weight: 8, arbitrary: fc.constant(name).map((kind) => ids[kind] ?? nowhere) },
    { weight: 1, arbitrary: fc.nat().map((n) => Object.values(ids)[n % 5] ?? nowhere) },
    { weight: 1, arbitrary: fc.constant(nowhere) },
  )
const nowhere = '01890000-0000-7000-8000-00000000ffff'

interface JsonSchema {
  type?: string
  properties?: Record<string, JsonSchema>
  required?: string[]
  enum?: unknown[]
  const?: unknown
  items?: JsonSchema
  anyOf?: JsonSchema[]
  oneOf?: JsonSchema[]
  format?: string
  pattern?: string
  minimum?: number
  maximum?: number
}

/** A value that mostly is what a schema asks for, with something odd in it now and then. */
function near(schema: JsonSchema, depth = 0, name = ''): fc.Arbitrary<unknown> {
  return fc.oneof(
    { weight: 25, arbitrary: fitting(schema, depth, name) },
    { weight: 1, arbitrary: anything },
  )
}

function fitting(schema: JsonSchema, depth: number, name: string): fc.Arbitrary<unknown> {
  if (depth > 6) return anything
  if (schema.const !== undefined) return fc.constant(schema.const)
  if (schema.enum) return fc.constantFrom(...schema.enum)
  const choices = schema.anyOf ?? schema.oneOf
  if (choices) return fc.oneof(...choices.map((choice) => near(choice, depth + 1, name)))
  switch (schema.type ?? '') {
    case 'object': {
      const fields = Object.entries(schema.properties ?? {})
        .filter(([field, property]) => says(property) || schema.required?.includes(field))
        .map(([field, property]) => [field, near(property, depth + 1, field)] as const)
      return fc.record(Object.fromEntries(fields), { requiredKeys: schema.required ?? [] })
    }
    case 'array':
      return fc.array(near(schema.items ?? {}, depth + 1, name), { maxLength: 4 })
    case 'integer':
    case 'number':
      return fc.integer({ min: -1, max: Math.min(schema.maximum ?? 1_000, 1_000_000) })
    case 'boolean':
      return fc.boolean()
    case 'string':
      return text(schema, name)
    default:
      return anything
  }
}

/** False for fields that are always refused: with them no request would get any further. */
function says({ type, anyOf, oneOf, enum: words, const: word }: JsonSchema): boolean {
  return [type, anyOf, oneOf, words, word].some((part) => part !== undefined)
}

function text({ format, pattern }: JsonSchema, name: string): fc.Arbitrary<unknown> {
  if (format === 'uuid') return idFor(name)
  if (format === 'date-time') return fc.constantFrom('2031-01-01T00:00:00Z', '2031-02-30T00:00:00Z')
  const free = fc.oneof(
    fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' }),
    fc.constantFrom('fuzz', 'fuzz-2', '1.0', 'a'.repeat(64)),
  )
  if (pattern === undefined) return free
  try {
    return fc.oneof(
      { weight: 5, arbitrary: fc.stringMatching(new RegExp(pattern)) },
      { weight: 1, arbitrary: free },
    )
  } catch {
    // A pattern with parts that the generator does not know.
    return free
  }
}

const schemaOf = (schema: z.ZodType | undefined): JsonSchema =>
  schema ? (z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema) : {}

function requestTo(route: Route) {
  const query = Object.keys(schemaOf(route.schemas.query).properties ?? {})
  const oddSegment = fc.constantFrom(
    'root',
    'targets',
    'fw-fuzz',
    '1',
    '0',
    '%00',
    '..%2f',
    'x'.repeat(300),
    '%zz',
    '%F0%9F',
  )
  const names = [...route.path.matchAll(/:(\w+)/g)].map(([, name = '']) => name)
  return fc.record({
    segments: fc.tuple(
      ...names.map((name) =>
        fc.oneof({ weight: 9, arbitrary: idFor(name) }, { weight: 1, arbitrary: oddSegment }),
      ),
    ),
    query:
      query.length > 0
        ? fc.dictionary(
            fc.constantFrom(...query),
            fc.oneof(
              fc.constantFrom(...Object.keys(ids), '1', 'true', 'info'),
              fc.string({ maxLength: 30 }),
              odd.map(String),
            ),
            { maxKeys: 3 },
          )
        : fc.constant({}),
    body: route.schemas.body
      ? fc.oneof(
          { weight: 5, arbitrary: near(schemaOf(route.schemas.body)) },
          { weight: 1, arbitrary: anything },
        )
      : fc.constant(undefined),
    idempotency: fc.oneof(
      { weight: 5, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary: fc.constantFrom('k1', 'k2', 'not a key', 'x'.repeat(300)) },
    ),
  })
}

test.each(routes.map((route) => [`${route.method.toUpperCase()} ${route.path}`, route] as const))(
  '%s',
  async (name, route) => {
    // Revoking the keys of this test would only test the answer to a missing key.
    const kept = new Set(Object.values(api.keys).map(({ id }) => id))
    await fc.assert(
      fc.asyncProperty(requestTo(route), async ({ segments, query, body, idempotency }) => {
        const rest = [...segments]
        const path = route.path.replaceAll(/:\w+/g, () => rest.shift() ?? '')
        if ([...kept].some((id) => path.includes(id))) return
        const asked = new URLSearchParams(query).toString()
        const { status, text } = await api.call(
          route.method.toUpperCase(),
          `${path}${asked === '' ? '' : `?${asked}`}`,
          body,
          {
            headers: idempotency === undefined ? {} : { 'Idempotency-Key': idempotency },
          },
        )
        const words = `${name} ${path} ${asked} ${JSON.stringify(body)?.slice(0, 500)} -> ${status} ${text.slice(0, 300)} ${lastError()}`
        expect(status, words).toBeLessThan(500)
        expect(status, words).not.toBe(401)
        if (status >= 400)
          expect((JSON.parse(text) as { code?: unknown }).code, words).toBeTypeOf('string')
      }),
      { seed, numRuns: runsPerRoute, endOnFailure: true },
    )
  },
  120_000,
)

/** The log's word on a 500, so that a failure says why. */
function lastError(): string {
  const line = api.log().findLast(({ msg }) => msg === 'request failed')
  return line === undefined ? '' : JSON.stringify(line['err']).slice(0, 600)
}
