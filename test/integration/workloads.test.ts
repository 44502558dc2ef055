import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import { createOperator } from '../../demo/fleetseal.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { flushEvents } from '../../server/events/record.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { type FakeIssuer, startFakeIssuer } from '../support/fake-issuer.ts'

let handle: DatabaseHandle
let api: TestApi
let issuer: FakeIssuer
/** The issuer's clock is the real one, and so is ours, but for what a test adds. */
let aheadMs = 0
let workloadId = ''

const audience = 'https://fleetseal.example'
const subject = 'repo:acme/gate:ref:refs/heads/main'
const trust = async (more: object = {}) =>
  await api.call('POST', '/workloads', {
    name: `pipeline ${Math.random()}`,
    issuer: issuer.issuer,
    audience,
    subject: 'repo:acme/gate:ref:refs/heads/*',
    claims: { environment: 'production' },
    role: 'release-manager',
    ...more,
  })

beforeAll(async () => {
  handle = await createTestDatabase()
  issuer = await startFakeIssuer()
  api = await startApi(handle, { clock: { now: () => new Date(Date.now() + aheadMs) } })
  workloadId = String((await trust({ name: 'gate' })).body['id'])
})
beforeEach(async () => {
  // Nobody is slowed down for what an earlier test did.
  aheadMs += 120_000
  await flushEvents(api.ctx)
  await handle.db.deleteFrom('security_event').execute()
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await issuer[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const now = () => Math.floor((Date.now() + aheadMs) / 1000)
const good = (more: object = {}) => ({
  sub: subject,
  aud: audience,
  environment: 'production',
  iat: now(),
  exp: now() + 300,
  ...more,
})
const me = async (token: string) =>
  await api.call('GET', '/operators/me', undefined, { key: token })
const reasons = async () => {
  await flushEvents(api.ctx)
  const { items = [] } = (await api.call('GET', '/events?kind=workload-refused')).body
  return items.map(({ facts }) => (facts as { reason: string }).reason)
}

test('a token that fits is its workload, with the role that was given, and no more', async () => {
  const { status, body } = await me(await issuer.sign(good()))
  expect(status).toBe(200)
  expect(body).toMatchObject({
    id: `workload:${workloadId}`,
    name: `gate (${subject})`,
    role: 'release-manager',
  })
  const token = await issuer.sign(good({ aud: ['other', audience] }))
  expect((await api.call('GET', '/api-keys', undefined, { key: token })).status).toBe(403)
  const shown = (await api.call('GET', `/workloads/${workloadId}`)).body
  expect(shown['lastUsedAt']).not.toBeNull()
})

test.each<[string, () => object]>([
  ['for another audience', () => good({ aud: 'https://other.example' })],
  ['of another branch', () => good({ sub: 'repo:acme/gate:ref:refs/tags/v1' })],
  ['with more behind the subject', () => good({ sub: `${subject}:pull_request` })],
  ['with more before the subject', () => good({ sub: `x${subject}` })],
  ['of another environment', () => good({ environment: 'test' })],
  ['without the claim', () => good({ environment: undefined })],
  ['with a list for the claim', () => good({ environment: ['production'] })],
  ['without a subject', () => good({ sub: undefined })],
  ['without an audience', () => good({ aud: undefined })],
  ['without an end', () => good({ exp: undefined })],
  ['that has ended', () => good({ iat: now() - 900, exp: now() - 120 })],
  ['that begins later', () => good({ nbf: now() + 900 })],
  ['that lasts for a month', () => good({ exp: now() + 30 * 86_400 })],
  ['of another issuer', () => good({ iss: 'https://evil.example' })],
  ['of the same issuer with a slash', () => good({ iss: `${issuer.issuer}/` })],
])('a token %s opens nothing, and is a security event', async (_name, claims) => {
  expect((await me(await issuer.sign(claims() as Record<string, unknown>))).status).toBe(401)
  expect(await reasons()).toHaveLength(1)
})

test('a token that the issuer did not sign opens nothing, with a key of mine, none or a shared one', async () => {
  const forged = await issuer.forge(good())
  const [, payload = ''] = forged.split('.')
  const header = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  for (const token of [
    forged,
    `${header({ alg: 'none' })}.${payload}.AA`,
    `${header({ alg: 'HS256', kid: 'one' })}.${payload}.AAAA`,
    `${header({ alg: 'ES256', jku: 'https://evil.example' })}.${payload}.AAAA`,
    'aaaa.bbbb.cccc',
  ]) {
    expect((await me(token)).status).toBe(401)
  }
})

test('an issuer that nobody named is not asked', async () => {
  await using stranger = await startFakeIssuer()
  expect((await me(await stranger.sign(good()))).status).toBe(401)
  expect(stranger.asked.size).toBe(0)
  expect(await reasons()).toEqual(['unknown-issuer'])
})

test('the keys of an issuer are asked for once, not for every token', async () => {
  for (let n = 0; n < 5; n++) expect((await me(await issuer.sign(good()))).status).toBe(200)
  expect(issuer.asked.get('/jwks')).toBe(1)
})

test.each<[string, string, (issuer: FakeIssuer) => void]>([
  [
    'is down',
    '/.well-known/openid-configuration',
    ({ answers }) =>
      answers.set('/.well-known/openid-configuration', (res) => void res.socket?.destroy()),
  ],
  [
    'describes another one',
    '',
    ({ answers }) =>
      answers.set('/.well-known/openid-configuration', (res) =>
        res.end('{"issuer":"https://evil.example","jwks_uri":"https://evil.example/jwks"}'),
      ),
  ],
  [
    'sends its readers elsewhere',
    '',
    ({ answers, issuer: own }) =>
      answers.set('/.well-known/openid-configuration', (res) =>
        res.writeHead(302, { Location: `${own}/other` }).end(),
      ),
  ],
  [
    'answers without an end',
    '',
    ({ answers }) => answers.set('/jwks', (res) => res.end('x'.repeat(600 * 1024))),
  ],
  ['has no keys', '', ({ answers }) => answers.set('/jwks', (res) => res.writeHead(500).end())],
])('an issuer that %s is no verdict: try again', async (_name, _path, breakIt) => {
  await using other = await startFakeIssuer()
  expect((await trust({ issuer: other.issuer })).status).toBe(201)
  breakIt(other)
  const token = await other.sign(good())
  expect(await me(token)).toMatchObject({ status: 503, body: { code: 'busy' } })
  other.answers.clear()
  aheadMs += 60_000
  expect((await me(token)).status).toBe(200)
})

test('a workload that was removed opens nothing from the next request on; its name is free again', async () => {
  await using other = await startFakeIssuer()
  const body = { name: 'short', issuer: other.issuer }
  const id = String((await trust(body)).body['id'])
  expect((await trust(body)).status).toBe(409)
  const token = await other.sign(good())
  expect((await me(token)).status).toBe(200)
  expect((await api.call('DELETE', `/workloads/${id}`)).status).toBe(204)
  expect((await me(token)).status).toBe(401)
  expect((await trust(body)).status).toBe(201)
})

test.each([
  ['an issuer without TLS', { issuer: 'http://issuer.example' }],
  ['an issuer with a password', { issuer: 'https://a:b@issuer.example' }],
  ['a subject that fits everybody', { subject: '*' }],
  ['a subject of stars', { subject: '*:*' }],
  ['a subject with many stars', { subject: 'a*b*c*d*e*f*g' }],
  ['a role that there is not', { role: 'nobody' }],
])('%s is refused', async (_name, more) => {
  expect((await trust(more)).status).toBe(400)
})

test('nobody trusts a pipeline with what he may not do himself', async () => {
  await api.call('POST', '/roles', { name: 'hr', permissions: ['operators:manage', 'self:read'] })
  const made = await api.call('POST', '/api-keys', { name: 'hr', role: 'hr' })
  const key = String(made.body['secret'])
  const body = { name: 'mine', issuer: issuer.issuer, audience, subject, role: 'admin' }
  expect((await api.call('POST', '/workloads', body, { key })).status).toBe(403)
})

test('the command line takes a token where it takes a key', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-token-'))
  await writeFile(join(folder, 'token'), `${await issuer.sign(good())}\n`)
  await writeFile(join(folder, 'ca.pem'), '-----BEGIN CERTIFICATE-----\n')
  const { fleetseal } = createOperator(
    {
      FLEETSEAL_SERVER: api.url,
      FLEETSEAL_API_KEY: join(folder, 'token'),
      FLEETSEAL_CA: join(folder, 'ca.pem'),
    },
    () => {},
  )
  const me = await fleetseal<{ id: string }>('api-key', 'whoami')
  await rm(folder, { recursive: true })
  expect(me.id).toBe(`workload:${workloadId}`)
})

test('no token is in the log', async () => {
  const token = await issuer.sign(good())
  await me(token)
  await me(`${token}x`)
  expect(JSON.stringify(api.log())).not.toContain(token.split('.')[1])
})
