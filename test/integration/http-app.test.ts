import { readFile, stat, writeFile } from 'node:fs/promises'
import { request } from 'node:http'

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { noTransport } from '../../server/mqtt/transport.ts'
import { ensureMetricsToken, metricsTokenFile } from '../../server/operators/metrics-token.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

let handle: DatabaseHandle
let api: TestApi

beforeAll(async () => {
  handle = await createTestDatabase()
})
beforeEach(async () => {
  api = await startApi(handle)
})
afterEach(async () => await api[Symbol.asyncDispose]())
afterAll(async () => await handle[Symbol.asyncDispose]())

interface OpenApi {
  paths: Record<
    string,
    { get?: { security?: object[]; responses: Record<string, { content?: object }> } }
  >
}

const open = async (path: string, headers: Record<string, string> = {}) =>
  await fetch(`${api.url}${path}`, { headers })

test('unknown paths, known paths with another method, and HEAD', async () => {
  expect(await api.call('GET', '/nothing')).toMatchObject({
    status: 404,
    body: { code: 'not-found' },
  })
  const wrong = await api.call('DELETE', '/groups')
  expect(wrong).toMatchObject({ status: 405, body: { code: 'method-not-allowed' } })
  expect(wrong.headers.get('allow')).toBe('GET, HEAD, POST')
  expect((await fetch(`${api.url}/healthz`, { method: 'POST' })).status).toBe(405)
  const head = await api.call('HEAD', '/groups')
  expect(head).toMatchObject({ status: 200, text: '' })
  expect((await open('/nothing')).status).toBe(404)
})

test.each([
  ['not JSON', '{', 'application/json', 400],
  ['not an object', '"x"', 'application/json', 400],
  ['another type', 'name=x', 'application/x-www-form-urlencoded', 415],
  ['too large', JSON.stringify({ name: 'x'.repeat(300_000) }), 'application/json', 413],
  ['an unknown field', '{"name":"a","admin":true}', 'application/json', 400],
  ['U+0000', String.raw`{"name":"a\u0000"}`, 'application/json', 400],
  [
    'deep nesting',
    `{"name":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
    'application/json',
    400,
  ],
  ['__proto__', '{"__proto__":{"name":"a"}}', 'application/json', 400],
  ['nothing', '', 'application/json', 400],
])('a body that is %s is refused', async (_name, body, type, status) => {
  const reply = await api.call('POST', '/groups', body, { headers: { 'Content-Type': type } })
  expect(reply.status).toBe(status)
  expect(reply.headers.get('content-type')).toContain('application/problem+json')
})

test('a bad id, a bad escape, a cursor of another list', async () => {
  expect((await api.call('GET', '/groups/not-a-uuid')).status).toBe(400)
  expect((await api.call('GET', '/groups/%zz')).status).toBe(400)
  expect((await api.call('GET', '/groups?limit=0')).status).toBe(400)
  expect((await api.call('GET', '/groups?limit=1&limit=2')).status).toBe(400)
  expect((await api.call('GET', '/groups?nmae=x')).status).toBe(400)
  for (const cursor of ['MTIz', 'LS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0', 'xx']) {
    expect((await api.call('GET', `/groups?cursor=${cursor}`)).status).toBe(400)
  }
})

test('one log line a request: the pattern of the path, never its query or key', async () => {
  await api.call('GET', '/groups?name=private-words', undefined, {
    headers: { 'X-Request-Id': 'my-request-1' },
  })
  await api.call('GET', '/groups/01890000-0000-7000-8000-000000000001', undefined, {
    key: `fs_${'C'.repeat(43)}`,
  })
  const lines = api.log().filter(({ msg }) => msg === 'request')
  expect(lines).toHaveLength(2)
  expect(lines[0]).toMatchObject({
    requestId: 'my-request-1',
    method: 'GET',
    route: '/api/v1/groups',
    status: 200,
    actor: `key:${api.keys.admin.id}`,
    listener: 'api',
  })
  expect(lines[0]?.['ms']).toBeTypeOf('number')
  expect(lines[1]).toMatchObject({ status: 401, problem: 'not-authenticated' })
  const all = JSON.stringify(api.log())
  for (const secret of ['private-words', 'CCCCCC', api.keys.admin.secret])
    expect(all).not.toContain(secret)
})

test('a request id that could forge a log line is replaced', async () => {
  for (const given of ['x', 'a b c d e f g h', 'a'.repeat(65), '{"level":50}']) {
    const { headers } = await api.call('GET', '/groups', undefined, {
      headers: { 'X-Request-Id': given },
    })
    expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
  }
})

test('our own bug is a bare 500 with a request id, and is logged in full', async () => {
  const broken = new Proxy(handle.db, {
    get: (target, name) => {
      if (name === 'selectFrom') throw new Error('secret detail of the database')
      return Reflect.get(target, name) as unknown
    },
  })
  api.ctx.db = broken
  const { status, body, text } = await api.call('GET', '/groups')
  expect(status).toBe(500)
  expect(body).toMatchObject({ code: 'internal' })
  expect(text).not.toContain('secret detail')
  expect(JSON.stringify(api.log())).toContain('secret detail')
})

test('health and readiness', async () => {
  expect(await (await open('/healthz')).json()).toEqual({ status: 'ok' })
  const notYet = await open('/readyz')
  expect(notYet.status).toBe(503)
  expect(await notYet.json()).toMatchObject({
    status: 'not-ready',
    checks: { database: 'ok', broker: 'not started' },
  })
  api.ctx.transport = { ...noTransport }
  api.ctx.clock.advance({ seconds: 2 })
  const ready = await open('/readyz')
  expect(ready.status).toBe(200)
  expect(await ready.json()).toMatchObject({
    status: 'ready',
    metadata: { imported: false, evaluation: false, overdue: [] },
  })
  api.ctx.clock.advance({ seconds: 90_000 })
  expect(await (await open('/readyz')).json()).toMatchObject({
    checks: { authorities: 'the server certificate has expired' },
  })
})

test('metrics: with their own token or any API key, else not', async () => {
  expect((await open('/metrics')).status).toBe(401)
  await ensureMetricsToken(api.ctx.config)
  const file = metricsTokenFile(api.ctx.config)
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  const token = (await readFile(file, 'utf8')).trim()
  await ensureMetricsToken(api.ctx.config)
  expect((await readFile(file, 'utf8')).trim()).toBe(token)
  const withToken = async (text: string) =>
    (await open('/metrics', { Authorization: `Bearer ${text}` })).status
  expect(await withToken(token)).toBe(200)
  expect(await withToken(`${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`)).toBe(401)
  expect(await withToken(api.keys.viewer.secret)).toBe(200)
  // The token opens nothing else, and half a file opens nothing at all.
  expect((await api.call('GET', '/groups', undefined, { key: token })).status).toBe(401)
  await writeFile(file, 'fm_')
  expect(await withToken('fm_')).toBe(401)
})

test('what lies beside the interface is in the OpenAPI document, and answers as it says', async () => {
  await ensureMetricsToken(api.ctx.config)
  const document = (await (await open('/openapi.json')).json()) as OpenApi
  const beside = Object.entries(document.paths).filter(([path]) => !path.startsWith('/api/'))
  expect(beside.map(([path]) => path).toSorted()).toEqual([
    '/docs',
    '/docs/problems',
    '/docs/problems/{code}',
    '/healthz',
    '/metrics',
    '/openapi.json',
    '/readyz',
    '/sign-in/oidc',
    '/sign-in/oidc/back-channel-logout',
    '/sign-in/oidc/callback',
    '/sign-out',
  ])
  // No provider is set up here; the tests of signing in have one.
  const { get: begin } = document.paths['/sign-in/oidc'] ?? {}
  const notSetUp = await open('/sign-in/oidc')
  expect(notSetUp.status).toBe(404)
  expect(begin?.responses['404']?.content).toHaveProperty('application/problem+json')
  for (const [pattern, { get }] of beside) {
    if (pattern.startsWith('/sign-')) continue
    const path = pattern.replace('{code}', 'not-found')
    const isOpen = get?.security?.length === 0
    const answers = [
      await open(path),
      await open(path, { Authorization: `Bearer ${api.keys.viewer.secret}` }),
    ]
    for (const { status, headers } of answers) {
      const said = get?.responses[String(status)]
      expect(said, `${path} ${status}`).toBeDefined()
      const type = headers.get('content-type')?.split(';')[0] ?? ''
      if (status !== 401) expect(Object.keys(said?.content ?? {})).toEqual([type])
    }
    expect(answers[0]?.status === 401, path).toBe(!isOpen)
    expect(answers[1]?.status).not.toBe(401)
  }
})

test.each([
  ['a list', 'GET', '/api/v1/groups', true, 200],
  ['a refusal without a key', 'GET', '/api/v1/groups', false, 401],
  ['a refusal of a body', 'POST', '/api/v1/groups', true, 415],
  ['nothing there', 'GET', '/nothing', true, 404],
  ['another method', 'DELETE', '/healthz', false, 405],
  ['the console', 'GET', '/', false, 200],
  ['a file of the console', 'GET', '/console/style.css', false, 200],
  ['no file of the console', 'GET', '/console/nothing.js', false, 404],
  ['the description', 'GET', '/openapi.json', false, 200],
  ['the page of the interface', 'GET', '/docs', false, 200],
  ['a script of that page', 'GET', '/docs/swagger-ui-bundle.js', false, 200],
  ['a page of a problem', 'GET', '/docs/problems/not-found', false, 200],
  ['no page of a problem', 'GET', '/docs/problems/nothing', false, 404],
  ['health', 'GET', '/healthz', false, 200],
  ['metrics', 'GET', '/metrics', true, 200],
])('security headers, no banner: %s', async (_what, method, path, withKey, status) => {
  const headers = withKey ? { Authorization: `Bearer ${api.keys.admin.secret}` } : {}
  const answer = await fetch(`${api.url}${path}`, { method, headers, redirect: 'manual' })
  await answer.body?.cancel()
  expect(answer.status).toBe(status)
  const of = (name: string) => answer.headers.get(name) ?? ''
  expect(of('x-content-type-options')).toBe('nosniff')
  expect(of('strict-transport-security')).toMatch(/^max-age=\d{8}$/)
  expect(of('x-frame-options')).toMatch(/SAMEORIGIN|DENY/)
  expect(of('referrer-policy')).toBe('no-referrer')
  expect(of('cross-origin-resource-policy')).toBe('same-origin')
  expect(of('content-security-policy')).toMatch(/default-src '(none|self)'/)
  expect(of('content-security-policy')).toMatch(/frame-ancestors '(none|self)'/)
  // Files that are the same for everybody may be kept.
  if (!path.startsWith('/docs/swagger') && !path.startsWith('/console/style'))
    expect(of('cache-control')).toBe('no-store')
  expect(answer.headers.get('x-powered-by')).toBeNull()
  expect(answer.headers.get('server')).toBeNull()
})

test('a refused upload ends its connection instead of reading gigabytes', async () => {
  const { promise, resolve, reject } = Promise.withResolvers<{
    status: number | undefined
    connection: string | undefined
  }>()
  const upload = request(`${api.url}/api/v1/artifacts?name=x`, {
    method: 'PUT',
    headers: { 'Content-Type': 'application/octet-stream', 'Content-Length': 2 ** 31 },
  })
  upload.once('response', (response) => {
    resolve({ status: response.statusCode, connection: response.headers.connection })
    response.resume()
    upload.destroy()
  })
  upload.once('error', reject)
  upload.write('some bytes')
  expect(await promise).toEqual({ status: 401, connection: 'close' })
})
