import { afterAll, beforeAll, expect, test } from 'vitest'

import { setGrants } from '../../server/access/grant-service.ts'
import { loadConfig } from '../../server/config.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { newId } from '../../server/ids.ts'
import { sessionCookieName } from '../../server/people/session-cookie.ts'
import { createSession } from '../../server/people/sessions.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { type FakeIssuer, startFakeIssuer } from '../support/fake-issuer.ts'

let handle: DatabaseHandle
let api: TestApi
let issuer: FakeIssuer

beforeAll(async () => {
  handle = await createTestDatabase()
  issuer = await startFakeIssuer()
  const config = loadConfig({
    FLEETSEAL_OIDC_ISSUER: issuer.issuer,
    FLEETSEAL_OIDC_CLIENT_ID: 'fleetseal',
    FLEETSEAL_OIDC_ROLE_MAP: '{"x":"viewer"}',
  })
  api = await startApi(handle, { config, clock: { now: () => new Date() } })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await issuer[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const event = { 'http://schemas.openid.net/event/backchannel-logout': {} }

/** Somebody with a session that the provider calls `sid`. */
async function signedIn(subject: string, sid: string) {
  const now = new Date(Date.now() - 1_000)
  const id = newId(now)
  const who = { oidc_issuer: issuer.issuer, oidc_subject: subject }
  const { secret } = await inTransaction(handle.db, async (tx) => {
    const found = await tx
      .selectFrom('person')
      .select('id')
      .where('oidc_subject', '=', subject)
      .executeTakeFirst()
    if (!found) {
      const row = { id, name: subject, state: 'active' as const, created_by: 'system' }
      await tx
        .insertInto('person')
        .values({ ...row, ...who, created_at: now })
        .execute()
      const by = { actor: 'system', at: now }
      await setGrants(tx, `user:${id}`, [{ role: 'viewer', groupIds: [] }], by)
    }
    return await createSession(tx, api.ctx.config, {
      personId: found?.id ?? id,
      method: 'oidc',
      address: '192.0.2.1',
      userAgent: undefined,
      now,
      oidc: { sid, hint: undefined },
    })
  })
  return async () => {
    const headers = { Cookie: `${sessionCookieName}=${secret}` }
    return (await api.call('GET', '/operators/me', undefined, { key: '', headers })).status
  }
}

const logOut = async (token: string) =>
  await fetch(`${api.url}/sign-in/oidc/back-channel-logout`, {
    method: 'POST',
    body: new URLSearchParams({ logout_token: token }),
  })
const good = (more: object = {}) => ({ aud: 'fleetseal', events: event, jti: 'a', ...more })

test('a session is ended by its name, and no other one', async () => {
  const [one, two] = [await signedIn('ann', 'ann-1'), await signedIn('ann', 'ann-2')]
  const answer = await logOut(await issuer.sign(good({ sub: 'ann', sid: 'ann-1' })))
  expect(answer.status).toBe(200)
  expect(answer.headers.get('cache-control')).toBe('no-store')
  expect([await one(), await two()]).toEqual([401, 200])
  await logOut(await issuer.sign(good({ sid: 'ann-2' })))
  expect(await two()).toBe(401)
})

test('all sessions of somebody are ended by the subject, and of nobody else', async () => {
  const [one, two] = [await signedIn('ben', 'ben-1'), await signedIn('ben', 'ben-2')]
  const other = await signedIn('cleo', 'cleo-1')
  expect((await logOut(await issuer.sign(good({ sub: 'ben' })))).status).toBe(200)
  expect([await one(), await two(), await other()]).toEqual([401, 401, 200])
})

test('a session of somebody else is not ended by its name with another subject', async () => {
  const victim = await signedIn('dan', 'dan-1')
  await signedIn('eve', 'eve-1')
  expect((await logOut(await issuer.sign(good({ sub: 'eve', sid: 'dan-1' })))).status).toBe(200)
  expect((await logOut(await issuer.sign(good({ sub: 'nobody', sid: 'dan-1' })))).status).toBe(200)
  expect(await victim()).toBe(200)
})

test('a token that is shown again later ends no session that began after it', async () => {
  const token = await issuer.sign(good({ sub: 'fay', iat: Math.floor(Date.now() / 1000) - 60 }))
  const later = await signedIn('fay', 'fay-1')
  expect((await logOut(token)).status).toBe(200)
  expect(await later()).toBe(200)
})

const now = () => Math.floor(Date.now() / 1000)
test.each<[string, () => object, object?]>([
  ['for another client', () => good({ sub: 'gus', aud: 'other' })],
  ['of another issuer', () => good({ sub: 'gus', iss: 'https://evil.example' })],
  ['that has ended', () => good({ sub: 'gus', exp: now() - 120 })],
  ['that is old', () => good({ sub: 'gus', iat: now() - 600 })],
  ['from the future', () => good({ sub: 'gus', iat: now() + 600 })],
  ['without the event', () => good({ sub: 'gus', events: {} })],
  ['without any events', () => good({ sub: 'gus', events: undefined })],
  ['that is an ID token', () => good({ sub: 'gus', nonce: 'n' })],
  ['of another type', () => good({ sub: 'gus' }), { typ: 'at+jwt' }],
  ['that names nobody', () => good({})],
])('a token %s ends nothing', async (_name, claims, header) => {
  const session = await signedIn('gus', 'gus-1')
  const answer = await logOut(await issuer.sign(claims() as Record<string, unknown>, header))
  expect(answer.status).toBe(400)
  expect(await session()).toBe(200)
})

test('a token that the issuer did not sign ends nothing, with a key of mine, none or a shared one', async () => {
  const session = await signedIn('hal', 'hal-1')
  const forged = await issuer.forge(good({ sub: 'hal' }))
  const [, payload = ''] = forged.split('.')
  const none = Buffer.from('{"alg":"none"}').toString('base64url')
  const shared = Buffer.from('{"alg":"HS256","kid":"one"}').toString('base64url')
  for (const token of [forged, `${none}.${payload}.`, `${shared}.${payload}.AAAA`, 'x', 'a.b.c']) {
    expect((await logOut(token)).status).toBe(400)
  }
  expect((await logOut('x'.repeat(30_000))).status).toBe(413)
  const plain = { method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json' } }
  expect((await fetch(`${api.url}/sign-in/oidc/back-channel-logout`, plain)).status).toBe(400)
  expect(await session()).toBe(200)
})
