import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'

import { sql } from 'kysely'
import { generateSync } from 'otplib'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { type Agents, createAgents } from '../support/agents.ts'
import { createTestDatabase } from '../support/database.ts'
import { openSite, type Site } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

// Every secret that goes in is looked for in everything that comes out: the log at its most talkative, metrics, refusals, audit rows
// and security events.
let database: DatabaseHandle
let server: RunningServer
let site: Site
let agents: Agents
let ca = ''
const answers: string[] = []
const secrets = new Map<string, string>()

/** Remembers it as something that must not be seen again. */
function secret(name: string, value: string): string {
  if (value.length < 12) throw new Error(`${name} is too short to be looked for`)
  secrets.set(name, value)
  return value
}
const random = () => randomBytes(18).toString('base64url')

beforeAll(async () => {
  database = await createTestDatabase()
  if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  server = await startServer({
    DATABASE_URL: database.url,
    FLEETSEAL_LOG_LEVEL: 'debug',
    FLEETSEAL_WEBHOOK_PRIVATE: 'allow',
    // Nobody listens there: what fails is logged.
    FLEETSEAL_OTLP_ENDPOINT: 'http://127.0.0.1:9',
    FLEETSEAL_OTLP_HEADERS: `authorization=${secret('collector', random())}`,
    FLEETSEAL_SMTP_URL: `smtp://mailer:${secret('mail password', random())}@127.0.0.1:9`,
    FLEETSEAL_SMTP_FROM: 'fleet@example.com',
    FLEETSEAL_OIDC_ISSUER: 'http://127.0.0.1:9',
    FLEETSEAL_OIDC_CLIENT_ID: 'fleetseal',
    FLEETSEAL_OIDC_CLIENT_SECRET: secret('client secret', random()),
    FLEETSEAL_OIDC_ROLE_CLAIM: 'groups',
    FLEETSEAL_OIDC_ROLE_MAP: '{"fleet-admins":"admin"}',
  })
  ca = await readFile(server.ca, 'utf8')
  secret('first API key', (await server.apiKey()).trim())
  secret('metrics token', (await readFile(join(server.dataDir, 'metrics-token'), 'utf8')).trim())
  const kek = await readFile(join(server.dataDir, 'kek'))
  secret('key-encryption key', kek.toString('utf8').trim())
  site = await openSite(server)
  secret('enrollment token', site.token)
  agents = createAgents(server, site)
})
afterAll(async () => {
  await agents[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

interface Called {
  status: number
  body: Record<string, unknown>
  cookie: string
}

/** `isAnswerSecret`: a secret is shown in this answer on purpose, and nowhere else. */
async function call(
  method: string,
  path: string,
  {
    body,
    headers = {},
    port = server.ports.api,
  }: { body?: unknown; headers?: Record<string, string>; port?: number } = {},
  isAnswerSecret = false,
): Promise<Called> {
  const { promise, resolve, reject } = Promise.withResolvers<Called>()
  const outgoing = request(
    {
      host: 'localhost',
      port,
      path,
      method,
      ca,
      headers: {
        Origin: `https://localhost:${server.ports.api}`,
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...headers,
      },
    },
    (incoming) => {
      let text = ''
      incoming.on('data', (chunk: Buffer) => (text += chunk.toString()))
      incoming.on('end', () => {
        if (!isAnswerSecret) answers.push(JSON.stringify(incoming.headers), text)
        const cookie = (incoming.headers['set-cookie'] ?? [])
          .map((one) => one.split(';')[0])
          .join('; ')
        resolve({
          status: incoming.statusCode ?? 0,
          cookie,
          body: text.startsWith('{') ? (JSON.parse(text) as Called['body']) : {},
        })
      })
    },
  )
  outgoing.on('error', reject)
  outgoing.end(body === undefined ? undefined : JSON.stringify(body))
  return await promise
}

const admin = () => ({ Authorization: `Bearer ${secrets.get('first API key') ?? ''}` })
const api = (path: string) => `/api/v1${path}`

/** Somebody who signs in with a password and an authenticator app, and fails to. */
async function accountsStory() {
  const person = await call('POST', api('/people'), {
    headers: admin(),
    body: { name: 'Ada', email: 'ada@example.com', grants: [{ role: 'viewer', groupIds: [] }] },
  })
  expect(person.status).toBe(201)
  const invited = await call(
    'POST',
    api(`/people/${String(person.body['id'])}/invitations`),
    { headers: admin(), body: {} },
    true,
  )
  const token = secret('invitation', String(invited.body['token']))
  const password = secret('password', `correct horse ${random()}`)
  const accepted = await call(
    'POST',
    api('/sign-in/invitation/accept'),
    { body: { token, password } },
    true,
  )
  const ticket = secret('ticket', String(accepted.body['ticket']))
  const begun = await call('POST', api('/sign-in/setup/totp'), { body: { ticket } }, true)
  const seed = secret('authenticator', String(begun.body['secret']))
  const code = generateSync({ secret: seed })
  const done = await call(
    'POST',
    api('/sign-in/setup'),
    { body: { ticket, kind: 'totp', code } },
    true,
  )
  expect(done.status).toBe(200)
  const [, cookie = ''] = /=(.+)$/.exec(done.cookie) ?? []
  secret('session', cookie)
  for (const one of done.body['recoveryCodes'] as string[]) secret(`recovery code ${one}`, one)
  // From here on they are shown where they do not belong.
  await call('POST', api('/sign-in/password'), {
    body: { email: 'ada@example.com', password: `${password}x` },
  })
  await call('POST', api('/sign-in/password'), { body: { email: password, password: token } })
  await call('POST', api('/sign-in/invitation/accept'), { body: { token, password } })
  await call('POST', api('/sign-in/second-factor'), { body: { ticket, kind: 'totp', code: seed } })
  await call('GET', api('/self'), { headers: { Cookie: `${done.cookie}x` } })
  await call('POST', api('/groups'), {
    headers: { Cookie: done.cookie, 'X-Fleetseal-Request': '1' },
    body: { name: 'not hers' },
  })
  await call('GET', api(`/devices?query=${encodeURIComponent('x')}&cursor=y`), {
    headers: { Cookie: done.cookie },
  })
}

async function keysStory() {
  const made = await call(
    'POST',
    api('/api-keys'),
    { headers: admin(), body: { name: 'ci', role: 'viewer' } },
    true,
  )
  const key = secret('second API key', String(made.body['secret']))
  await call('GET', api('/groups'), { headers: { Authorization: `Bearer ${key}` } })
  await call('POST', api('/groups'), {
    headers: { Authorization: `Bearer ${key}` },
    body: { name: 'x' },
  })
  await call('DELETE', api(`/api-keys/${String(made.body['id'])}`), { headers: admin() })
  await call('GET', api('/groups'), { headers: { Authorization: `Bearer ${key}` } })
  await call('GET', api('/groups'), { headers: { Authorization: `Basic ${key}` } })
  // A body that is refused is not repeated, whatever somebody pasted into it.
  await call('POST', api('/api-keys'), {
    headers: admin(),
    body: { name: 1, role: 'viewer', expiresAt: '2020-01-01T00:00:00Z' },
  })
  const hook = await call(
    'POST',
    api('/webhooks'),
    { headers: admin(), body: { url: 'http://127.0.0.1:9/in', types: ['group.changed'] } },
    true,
  )
  if (hook.status === 201) secret('webhook', String(hook.body['secret']))
  await call('PATCH', api(`/webhooks/${String(hook.body['id'])}`), {
    headers: admin(),
    body: { secret: 'x' },
  })
}

async function devicesStory() {
  await agents.powerUp('canary-1')
  const basic = (user: string, password: string) =>
    `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  const path = '/.well-known/est/line-1/simpleenroll'
  const { device: port } = server.ports
  const wrong = secret('wrong enrollment token', random())
  await call('POST', path, { port, headers: { Authorization: basic('line-1', wrong) } })
  await call('POST', path, {
    port,
    headers: { Authorization: basic('line-1', site.token), 'Content-Type': 'application/pkcs10' },
  })
  secret('basic credentials', basic('line-1', site.token).slice(6))
}

test('no secret that goes in comes out', async () => {
  await keysStory()
  await accountsStory()
  await devicesStory()
  await call('GET', api('/sign-in/ways'), {})
  await call('GET', '/sign-in/oidc', {})
  for (const path of [
    '/audit?limit=200',
    '/events?limit=200',
    '/webhooks',
    '/people',
    '/api-keys',
    '/doctor',
    '/enrollment-profiles',
  ]) {
    await call('GET', api(path), { headers: admin() })
  }
  await call('GET', '/metrics', { headers: admin() })
  await call('GET', '/readyz')
  await call('GET', '/openapi.json')
  await server.stop()
  const { rows } = await sql<{ line: string }>`
    select row_to_json(a)::text as line from audit_event a union all
    select row_to_json(e)::text from security_event e union all
    select row_to_json(o)::text from outbox_event o`.execute(database.db)
  const seen = {
    log: server.output(),
    answers: answers.join('\n'),
    rows: rows.map(({ line }) => line).join('\n'),
  }
  // There is something to look at, and looking finds what is there.
  expect(secrets.size).toBeGreaterThan(20)
  expect(seen.log).toContain('"level"')
  expect(seen.rows).toContain('api-key.create')
  expect(seen.answers).toContain('not-authenticated')
  const found = [...secrets].flatMap(([name, value]) =>
    Object.entries(seen).flatMap(([place, text]) =>
      text.includes(value) ? [`${name} in the ${place}`] : [],
    ),
  )
  expect(found).toEqual([])
})
