import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { flushEvents } from '../../server/events/record.ts'
import { attemptCookieName } from '../../server/people/attempt.ts'
import { sessionCookieName } from '../../server/people/session-cookie.ts'
import { createTestDatabase } from '../support/database.ts'
import { here, type OidcWorld, openOidcWorld } from '../support/oidc-world.ts'

let handle: DatabaseHandle
let world: OidcWorld
/** The provider's clock is the real one, and so is ours, but for what a test adds. */
let aheadMs = 0
const clock = { now: () => new Date(Date.now() + aheadMs) }

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await openOidcWorld(handle, {}, { clock })
})
beforeEach(() => {
  aheadMs = 0
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const refusals = async () => {
  await flushEvents(world.api.ctx)
  const { items = [] } = (await world.api.call('GET', '/events?kind=sign-in-refused')).body
  return items.map(({ facts }) => (facts as { reason: string }).reason)
}
const find = async (subject: string) =>
  await handle.db
    .selectFrom('person')
    .selectAll()
    .where('oidc_subject', '=', subject)
    .executeTakeFirst()

test('somebody signs in at the provider and is who it says, with the role that is mapped', async () => {
  const browser = world.newBrowser()
  const { url } = await world.signIn(browser, 'bob', '?returnTo=/devices%3Fstate%3Dactive')
  expect(url.href).toBe(`${here}/devices?state=active`)
  const { status, body } = await world.me(browser)
  expect(status).toBe(200)
  expect(body).toMatchObject({ name: 'Bob Brown', role: 'viewer' })
  expect(browser.cookie(here, sessionCookieName)).toMatch(/^[\w-]{43}$/)
  const person = await find('bob')
  expect(person).toMatchObject({ email: 'bob@example.com', created_by: 'system' })
  const audit = await handle.db
    .selectFrom('audit_event')
    .select('action')
    .where('subject', '=', person?.id ?? '')
    .execute()
  expect(audit.map(({ action }) => action)).toEqual(['person.create', 'session.begin'])
})

test('what the provider is asked for is bound to this browser: code, PKCE, state and nonce', async () => {
  const answer = await world.newBrowser().ask(`${here}/sign-in/oidc`)
  expect(answer.status).toBe(303)
  const query = new URL(answer.headers.get('location') ?? '').searchParams
  expect(Object.fromEntries(query)).toMatchObject({
    response_type: 'code',
    client_id: 'fleetseal',
    scope: 'openid profile email',
    code_challenge_method: 'S256',
    redirect_uri: `${here}/sign-in/oidc/callback`,
  })
  for (const name of ['state', 'nonce', 'code_challenge']) {
    expect(query.get(name)).toMatch(/^[\w-]{43}$/)
  }
  const cookie = answer.headers.get('set-cookie') ?? ''
  for (const word of ['Secure', 'HttpOnly', 'SameSite=Lax', 'Path=/'])
    expect(cookie).toContain(word)
  const rows = await handle.db.selectFrom('oidc_attempt').selectAll().execute()
  for (const secret of [query.get('state'), cookie.split(/[=;]/)[1]]) {
    expect(JSON.stringify(rows)).not.toContain(secret)
  }
})

test('a session cookie is for this host, over TLS, not for scripts and not for other sites', async () => {
  const browser = world.newBrowser()
  const callback = await world.untilCallback(browser, 'bob')
  const cookie = (await browser.ask(callback)).headers.get('set-cookie') ?? ''
  expect(cookie).toMatch(/^__Host-fleetseal=[\w-]{43}; Path=\/; Secure; HttpOnly; SameSite=Strict$/)
})

test('the answer of the provider is good once, and in the browser that asked', async () => {
  const [browser, other] = [world.newBrowser(), world.newBrowser()]
  const callback = await world.untilCallback(browser, 'bob')
  await other.ask(`${here}/sign-in/oidc`)
  const stolen = await other.ask(callback)
  expect(stolen.status).toBe(401)
  expect((await world.newBrowser().ask(callback)).status).toBe(401)
  expect((await browser.ask(callback)).status).toBe(303)
  const again = await browser.ask(callback)
  expect(again.status).toBe(401)
  expect(await again.json()).toMatchObject({ code: 'not-authenticated', reason: 'unknown-state' })
  expect(await refusals()).toContain('unknown-state')
})

test.each([
  ['another state', (url: URL) => url.searchParams.set('state', 'x'.repeat(43))],
  ['no state', (url: URL) => url.searchParams.delete('state')],
  ['two states', (url: URL) => url.searchParams.append('state', 'y')],
  ['another code', (url: URL) => url.searchParams.set('code', 'x'.repeat(43))],
  ['no code', (url: URL) => url.searchParams.delete('code')],
  ['two codes', (url: URL) => url.searchParams.append('code', 'x')],
  ['the name of another issuer', (url: URL) => url.searchParams.set('iss', 'https://evil.example')],
  ['no issuer, although it promised one', (url: URL) => url.searchParams.delete('iss')],
  ['an error', (url: URL) => url.searchParams.set('error', 'access_denied')],
])('an answer with %s opens no session', async (_name, change) => {
  const browser = world.newBrowser()
  const callback = await world.untilCallback(browser, 'bob')
  change(callback)
  const answer = await browser.ask(callback)
  expect([400, 401]).toContain(answer.status)
  expect(browser.cookie(here, sessionCookieName)).toBeUndefined()
})

test('an answer to a question of another browser of mine does not fit its nonce and verifier', async () => {
  // The state is known, the browser is the right one, but its secret was put in place by somebody else.
  const browser = world.newBrowser()
  const callback = await world.untilCallback(browser, 'bob')
  const other = world.newBrowser()
  const own = await world.untilCallback(other, 'alice')
  // Somebody injects his own code into the sign-in of another.
  callback.searchParams.set('code', own.searchParams.get('code') ?? '')
  const answer = await browser.ask(callback)
  expect(answer.status).toBe(401)
  expect(await answer.json()).toMatchObject({ reason: 'not-verified' })
})

test('a sign-in that takes longer than ten minutes is begun again', async () => {
  const browser = world.newBrowser()
  const callback = await world.untilCallback(browser, 'bob')
  aheadMs = 10 * 60_000 + 1_000
  expect((await browser.ask(callback)).status).toBe(401)
})

test('whoever has no role that is mapped stays outside, and so does who is disabled', async () => {
  const browser = world.newBrowser()
  const { response } = await world.signIn(browser, 'carol')
  expect(response.status).toBe(403)
  expect(await response.json()).toMatchObject({ code: 'not-allowed', reason: 'no-role' })
  const bob = await find('bob')
  const act = async (action: string) =>
    await world.api.call('POST', `/people/${bob?.id}/actions`, { action, reason: 'test' })
  await act('disable')
  const disabled = await world.signIn(world.newBrowser(), 'bob')
  expect(await disabled.response.json()).toMatchObject({ reason: 'disabled-person' })
  await act('enable')
  expect((await world.signIn(world.newBrowser(), 'bob')).response.status).toBe(200)
  expect(await refusals()).toEqual(expect.arrayContaining(['no-role', 'disabled-person']))
})

test('at each sign-in the roles are those of the claims of that moment; a claim that is gone takes all away', async () => {
  world.people['dora'] = { name: 'Dora', roles: ['fleet-viewers'] }
  const first = world.newBrowser()
  await world.signIn(first, 'dora')
  expect((await world.me(first)).body).toMatchObject({ role: 'viewer' })
  world.people['dora'] = { name: 'Dora Day', roles: 'fleet-admins' }
  await world.signIn(world.newBrowser(), 'dora')
  expect((await world.me(first)).body).toMatchObject({ name: 'Dora Day', role: 'admin' })
  world.people['dora'] = { name: 'Dora Day' }
  expect((await world.signIn(world.newBrowser(), 'dora')).response.status).toBe(403)
  expect((await world.me(first)).status).toBe(401)
  const dora = await find('dora')
  const grants = (await world.api.call('GET', `/grants/user:${dora?.id}`)).body
  expect(grants).toMatchObject({ grants: [] })
})

test('a mapped role for groups is for those; without the groups there is no role, never a wider one', async () => {
  world.people['erik'] = { name: 'Erik', roles: ['line-1'] }
  expect((await world.signIn(world.newBrowser(), 'erik')).response.status).toBe(403)
  const group = await world.api.call('POST', '/groups', { name: 'line 1' })
  const browser = world.newBrowser()
  await world.signIn(browser, 'erik')
  expect((await world.me(browser)).body).toMatchObject({
    grants: [{ role: 'operator', groupIds: [group.body['id']] }],
  })
})

test('a mapped role that is not there is left out; the others of the same person count', async () => {
  world.people['fay'] = { name: 'Fay', roles: ['night-shift', 'fleet-viewers'] }
  const browser = world.newBrowser()
  await world.signIn(browser, 'fay')
  expect((await world.me(browser)).body).toMatchObject({ role: 'viewer' })
  world.people['gus'] = { name: 'Gus', roles: ['night-shift'] }
  expect((await world.signIn(world.newBrowser(), 'gus')).response.status).toBe(403)
  const role = { name: 'night-watch', description: 'Nights', permissions: ['devices:read'] }
  expect((await world.api.call('POST', '/roles', role)).status).toBe(201)
  const later = world.newBrowser()
  await world.signIn(later, 'gus')
  expect((await world.me(later)).body).toMatchObject({ grants: [{ role: 'night-watch' }] })
})

test.each([
  ['//evil.example', '/'],
  ['https://evil.example/', '/'],
  ['/\\evil.example', '/'],
  ['/.//evil.example', '/'],
  ['/a/..//evil.example', '/'],
  ['javascript:alert(1)', '/'],
  ['/%0d%0aSet-Cookie:x', '/%0d%0aSet-Cookie:x'],
  ['/devices?x=1#top', '/devices?x=1#top'],
])('after signing in the browser stays here: %s leads to %s', async (returnTo, target) => {
  const browser = world.newBrowser()
  const query = `?returnTo=${encodeURIComponent(returnTo)}`
  const callback = await world.untilCallback(browser, 'bob', query)
  expect((await browser.ask(callback)).headers.get('location')).toBe(target)
})

test('the provider ends its session, and ours has ended by the time it says so', async () => {
  const browser = world.newBrowser()
  await world.signIn(browser, 'alice')
  expect((await world.me(browser)).status).toBe(200)
  // At the provider alice signs out, without Fleetseal having any part in it.
  const page = await browser.go(`${world.provider.issuer}/session/end`)
  await browser.submit(page, { logout: 'yes' })
  // The provider has told us before it answered: there is nothing to wait for.
  expect((await world.me(browser)).status).toBe(401)
  const session = await handle.db
    .selectFrom('operator_session')
    .innerJoin('person', 'person.id', 'person_id')
    .select('ended_reason')
    .where('oidc_subject', '=', 'alice')
    .where('ended_at', 'is not', null)
    .executeTakeFirst()
  expect(session).toEqual({ ended_reason: 'by-provider' })
})

test('signing out here leads to the provider, which ends its session as well', async () => {
  const browser = world.newBrowser()
  await world.signIn(browser, 'alice')
  const headers = { Origin: here, 'X-Fleetseal-Request': '1' }
  const answer = await browser.ask(`${here}/sign-out`, { method: 'POST', headers })
  const { endSessionUrl } = (await answer.json()) as { endSessionUrl: string }
  const end = new URL(endSessionUrl)
  expect(end.origin).toBe(world.provider.issuer)
  expect(end.searchParams.get('post_logout_redirect_uri')).toBe(`${here}/`)
  expect(end.searchParams.get('id_token_hint')).toBeTruthy()
  expect((await world.me(browser)).status).toBe(401)
  const page = await browser.go(end)
  const { url } = await browser.submit(page, { logout: 'yes' })
  expect(url.href).toBe(`${here}/`)
  // Nobody is signed in there any more: the password is asked for.
  const next = await browser.go(`${here}/sign-in/oidc`)
  expect(await next.response.text()).toContain('name="password"')
})

test('a step-up asks for the password again, keeps the session and changes its cookie', async () => {
  const alice = await find('alice')
  await world.api.call('DELETE', `/people/${alice?.id}/sessions`)
  const browser = world.newBrowser()
  await world.signIn(browser, 'alice')
  const before = browser.cookie(here, sessionCookieName)
  const sessions = async () =>
    await handle.db
      .selectFrom('operator_session')
      .innerJoin('person', 'person.id', 'person_id')
      .select(['operator_session.id', 'proven_at'])
      .where('oidc_subject', '=', 'alice')
      .where('ended_at', 'is', null)
      .execute()
  const [old, ...none] = await sessions()
  expect(none).toEqual([])
  const page = await browser.go(`${here}/sign-in/oidc?stepUp=1&returnTo=/here`)
  expect(await page.response.clone().text()).toContain('name="password"')
  const { url } = await browser.submit(page, { login: 'alice', password: 'x' })
  expect(url.href).toBe(`${here}/here`)
  const [renewed] = await sessions()
  expect(renewed?.id).toBe(old?.id)
  expect(renewed?.proven_at.getTime()).toBeGreaterThan(old?.proven_at.getTime() ?? 0)
  expect(browser.cookie(here, sessionCookieName)).not.toBe(before)
  expect((await world.me(browser)).status).toBe(200)
})

test('a step-up as somebody else is refused, and one without a session is not begun', async () => {
  const browser = world.newBrowser()
  await world.signIn(browser, 'alice')
  const page = await browser.go(`${here}/sign-in/oidc?stepUp=1`)
  const between = await browser.submit(page, { login: 'bob', password: 'x' })
  // The provider first ends the session of alice there.
  const { response } = await browser.submit(between, {})
  expect(response.status).toBe(401)
  expect(await response.json()).toMatchObject({ reason: 'other-session' })
  expect((await world.newBrowser().ask(`${here}/sign-in/oidc?stepUp=1`)).status).toBe(401)
})

test('a browser gets a page with the reason, and nothing of what was sent in it', async () => {
  const headers = { Accept: 'text/html' }
  const url = `${here}/sign-in/oidc/callback?state=<script>&code=x`
  const answer = await world.newBrowser().ask(url, { headers })
  expect(answer.status).toBe(400)
  expect(answer.headers.get('content-type')).toContain('text/html')
  const text = await answer.text()
  expect(text).toContain('begin again')
  expect(text).not.toContain('<script>')
})

test('no code, token, state or cookie is in the log', async () => {
  const browser = world.newBrowser()
  const callback = await world.untilCallback(browser, 'bob')
  await browser.ask(callback)
  await browser.ask(callback)
  const secrets = [
    callback.searchParams.get('code'),
    callback.searchParams.get('state'),
    browser.cookie(here, sessionCookieName),
    browser.cookie(here, attemptCookieName),
  ]
  const log = JSON.stringify(world.api.log())
  for (const secret of secrets) {
    expect(secret).toBeTruthy()
    expect(log).not.toContain(secret)
  }
})

test('nobody fills the list of sign-ins under way from one network', async () => {
  const begin = async () => (await world.newBrowser().ask(`${here}/sign-in/oidc`)).status
  const statuses = await Promise.all(Array.from({ length: 150 }, begin))
  expect(new Set(statuses)).toEqual(new Set([303, 429]))
  aheadMs = 60_000
  expect(await begin()).toBe(303)
})
