import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import { setGrants } from '../../server/access/grant-service.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { flushEvents } from '../../server/events/record.ts'
import { newId } from '../../server/ids.ts'
import { standingActors } from '../../server/operators/standing.ts'
import { sessionCookieName } from '../../server/people/session-cookie.ts'
import {
  createSession,
  endSessions,
  maxSessions,
  renewSession,
} from '../../server/people/sessions.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

let handle: DatabaseHandle
let api: TestApi

beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
})
// Nobody is slowed down for what an earlier test did.
beforeEach(() => api.ctx.clock.advance({ seconds: 120 }))
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

interface SignedIn {
  personId: string
  sessionId: string
  cookie: string
}

const makePerson = async (email = `p${newId(api.ctx.clock.now())}@example.com`) => {
  const made = await api.call('POST', '/people', { name: 'Ada', email })
  expect(made.status).toBe(201)
  return String(made.body['id'])
}

async function signIn(personId: string, role?: string): Promise<SignedIn> {
  const now = api.ctx.clock.now()
  const { id, secret } = await inTransaction(handle.db, async (tx) => {
    if (role !== undefined) {
      const by = { actor: 'system', at: now }
      await setGrants(tx, `user:${personId}`, [{ role, groupIds: [] }], by)
    }
    const method = 'password' as const
    return await createSession(tx, api.ctx.config, {
      personId,
      method,
      address: '192.0.2.1',
      userAgent: 'Browser/1',
      now,
    })
  })
  return { personId, sessionId: id, cookie: `${sessionCookieName}=${secret}` }
}

const own = (cookie: string, headers: Record<string, string> = {}) => ({
  key: '',
  headers: { Cookie: cookie, ...headers },
})
const page = () => ({ Origin: api.url, 'X-Fleetseal-Request': '1' })
const me = async (cookie: string) => await api.call('GET', '/operators/me', undefined, own(cookie))
const events = async (kind: string) => {
  await flushEvents(api.ctx)
  return (await api.call('GET', `/events?kind=${kind}`)).body.items ?? []
}

test('a session is its person, with the rights of today; only a hash of the cookie is stored', async () => {
  const { personId, cookie } = await signIn(await makePerson(), 'viewer')
  expect(await me(cookie)).toMatchObject({
    status: 200,
    body: { id: `user:${personId}`, name: 'Ada', role: 'viewer' },
  })
  const rows = await handle.db.selectFrom('operator_session').selectAll().execute()
  expect(JSON.stringify(rows)).not.toContain(cookie.split('=')[1])
  expect((await api.call('GET', '/people', undefined, own(cookie))).status).toBe(403)
  await api.call('PUT', `/grants/user:${personId}`, { grants: [{ role: 'auditor' }] })
  expect((await api.call('GET', '/people', undefined, own(cookie))).status).toBe(200)
})

test('who is signed in and was given nothing may look at himself and at nothing else', async () => {
  const { cookie } = await signIn(await makePerson())
  for (const path of ['/groups', '/devices', '/people', '/releases']) {
    expect((await api.call('GET', path, undefined, own(cookie))).status).toBe(403)
  }
})

test.each([
  ['none', ''],
  ['unknown', `${sessionCookieName}=${'A'.repeat(43)}`],
  ['too short', `${sessionCookieName}=abc`],
  ['twice', `${sessionCookieName}=${'A'.repeat(43)}; ${sessionCookieName}=${'B'.repeat(43)}`],
  ['of another name', `x__Host-fleetseal=${'A'.repeat(43)}`],
])('no entry with a cookie that is %s', async (_name, cookie) => {
  expect(await me(cookie)).toMatchObject({ status: 401, body: { code: 'not-authenticated' } })
})

test('a session ends for want of use, and at its time in any case', async () => {
  const { cookie } = await signIn(await makePerson(), 'viewer')
  api.ctx.clock.advance({ seconds: 29 * 60 })
  expect((await me(cookie)).status).toBe(200)
  api.ctx.clock.advance({ seconds: 29 * 60 })
  expect((await me(cookie)).status).toBe(200)
  api.ctx.clock.advance({ seconds: 30 * 60 })
  const idle = await me(cookie)
  expect(idle.status).toBe(401)
  expect(idle.headers.get('set-cookie')).toContain(`${sessionCookieName}=; `)
  const other = await signIn(await makePerson(), 'viewer')
  for (let minutes = 0; minutes < 719; minutes += 20) {
    expect((await me(other.cookie)).status).toBe(200)
    api.ctx.clock.advance({ seconds: 20 * 60 })
  }
  expect((await me(other.cookie)).status).toBe(401)
})

test('a change by cookie needs a page of this server: the header and the origin, both', async () => {
  const { cookie } = await signIn(await makePerson(), 'admin')
  const post = async (headers: Record<string, string>) =>
    (await api.call('POST', '/groups', { name: newId(new Date()) }, own(cookie, headers))).status
  expect(await post(page())).toBe(201)
  expect(await post({})).toBe(403)
  expect(await post({ Origin: api.url })).toBe(403)
  expect(await post({ 'X-Fleetseal-Request': '1' })).toBe(403)
  expect(await post({ ...page(), Origin: 'https://evil.example' })).toBe(403)
  expect(await post({ ...page(), Origin: 'null' })).toBe(403)
  expect(await post({ ...page(), 'Sec-Fetch-Site': 'same-site' })).toBe(403)
  expect(await post({ ...page(), 'Sec-Fetch-Site': 'same-origin' })).toBe(201)
  expect((await api.call('GET', '/groups', undefined, own(cookie))).status).toBe(200)
})

test('a session and a key together are refused: which is meant would be a guess', async () => {
  const { cookie } = await signIn(await makePerson(), 'viewer')
  const both = await api.call('GET', '/groups', undefined, { headers: { Cookie: cookie } })
  expect(both).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
})

test('disabling somebody ends all sessions at once, for good, and is recorded', async () => {
  const personId = await makePerson()
  const first = await signIn(personId, 'viewer')
  const second = await signIn(personId)
  const act = async (action: string) =>
    await api.call('POST', `/people/${personId}/actions`, { action, reason: 'left' })
  expect((await act('disable')).body).toMatchObject({ state: 'disabled' })
  for (const { cookie } of [first, second]) expect((await me(cookie)).status).toBe(401)
  expect((await act('disable')).status).toBe(200)
  expect((await act('enable')).body).toMatchObject({ state: 'active', disabledAt: null })
  expect((await me(first.cookie)).status).toBe(401)
  const audit = await handle.db
    .selectFrom('audit_event')
    .select(['action', 'facts'])
    .where('subject', '=', personId)
    .where('action', 'in', ['person.disable', 'person.enable'])
    .execute()
  expect(audit).toMatchObject([
    { action: 'person.disable', facts: { reason: 'left', sessionsEnded: 2 } },
    { action: 'person.enable', facts: { reason: 'left', sessionsEnded: 0 } },
  ])
})

test('an administrator looks at the sessions of somebody and ends one, or all', async () => {
  const personId = await makePerson()
  const [first, second, third] = [
    await signIn(personId, 'viewer'),
    await signIn(personId),
    await signIn(personId),
  ]
  const list = (await api.call('GET', `/people/${personId}/sessions`)).body.items ?? []
  expect(new Set(list.map(({ id }) => id))).toEqual(
    new Set([first.sessionId, second.sessionId, third.sessionId]),
  )
  expect(list[0]).toMatchObject({ address: '192.0.2.1', userAgent: 'Browser/1', endedAt: null })
  const path = `/people/${personId}/sessions`
  expect((await api.call('DELETE', `${path}/${second.sessionId}`)).status).toBe(204)
  expect((await me(second.cookie)).status).toBe(401)
  expect((await me(first.cookie)).status).toBe(200)
  expect((await api.call('DELETE', path)).status).toBe(204)
  expect((await me(first.cookie)).status).toBe(401)
  const ended = (await api.call('GET', path)).body.items ?? []
  expect(ended.map(({ endedReason }) => endedReason)).toEqual(Array(3).fill('by-administrator'))
})

test('a session of somebody else is not ended by the address of another person', async () => {
  const victim = await signIn(await makePerson(), 'viewer')
  const other = await makePerson()
  const path = `/people/${other}/sessions/${victim.sessionId}`
  expect((await api.call('DELETE', path)).status).toBe(204)
  expect((await me(victim.cookie)).status).toBe(200)
})

test('of more than twenty sessions the oldest makes room', async () => {
  const personId = await makePerson()
  const sessions: SignedIn[] = []
  await signIn(personId, 'viewer')
  for (let n = 0; n < maxSessions; n++) {
    api.ctx.clock.advance({ seconds: 1 })
    sessions.push(await signIn(personId))
  }
  const open = await handle.db
    .selectFrom('operator_session')
    .select('id')
    .where('person_id', '=', personId)
    .where('ended_at', 'is', null)
    .execute()
  expect(new Set(open.map(({ id }) => id))).toEqual(
    new Set(sessions.map(({ sessionId }) => sessionId)),
  )
})

test('after a step-up the old cookie opens nothing; a session that ended is not renewed', async () => {
  const { personId, sessionId, cookie } = await signIn(await makePerson(), 'viewer')
  api.ctx.clock.advance({ seconds: 900 })
  const now = api.ctx.clock.now()
  const renew = async (whose: string) =>
    await inTransaction(handle.db, (tx) => renewSession(tx, sessionId, { now, personId: whose }))
  expect(await renew(await makePerson())).toBeUndefined()
  const renewed = await renew(personId)
  expect((await me(cookie)).status).toBe(401)
  expect((await me(`${sessionCookieName}=${renewed?.secret}`)).status).toBe(200)
  await inTransaction(handle.db, (tx) =>
    endSessions(tx, { id: sessionId }, { reason: 'signed-out', now }),
  )
  expect(await renew(personId)).toBeUndefined()
})

test('what needs a second factor is refused in an old session, and not to a key', async () => {
  const { cookie } = await signIn(await makePerson(), 'admin')
  const body = () => ({ name: 'Bob', email: `b${newId(new Date())}@example.com` })
  const make = async () => await api.call('POST', '/people', body(), own(cookie, page()))
  expect((await make()).status).toBe(201)
  api.ctx.clock.advance({ seconds: 601 })
  expect(await make()).toMatchObject({ status: 403, body: { code: 'step-up-needed' } })
  expect((await api.call('POST', '/people', body())).status).toBe(201)
})

test('signing out ends the session and takes the cookie away; without a session it is no error', async () => {
  const { cookie } = await signIn(await makePerson(), 'viewer')
  const out = async (headers: Record<string, string>) =>
    await fetch(`${api.url}/sign-out`, { method: 'POST', headers })
  expect((await out({ Cookie: cookie })).status).toBe(403)
  expect((await me(cookie)).status).toBe(200)
  const answer = await out({ Cookie: cookie, ...page() })
  expect(answer.status).toBe(200)
  expect(await answer.json()).toEqual({ endSessionUrl: null })
  expect(answer.headers.get('set-cookie')).toMatch(/Max-Age=0/)
  expect((await me(cookie)).status).toBe(401)
  expect((await out(page())).status).toBe(200)
})

test('an answer that goes on stops when the session ends', async () => {
  const { personId, sessionId } = await signIn(await makePerson(), 'viewer')
  const actor = `user:${personId}`
  const standing = async () => {
    const keys = [actor, `key:${api.keys.viewer.id}`]
    return [...(await standingActors(handle.db, keys, api.ctx.clock.now())).keys()]
  }
  expect(await standing()).toEqual([`key:${api.keys.viewer.id}`, actor])
  await api.call('DELETE', `/people/${personId}/sessions/${sessionId}`)
  expect(await standing()).toEqual([`key:${api.keys.viewer.id}`])
})

test('cookies that are guessed are recorded and slowed down; one that ended is neither a guess nor an alarm', async () => {
  expect((await api.call('GET', '/people')).status).toBe(200)
  const guess = async () => (await me(`${sessionCookieName}=${newId(new Date())}AAAAAAA`)).status
  for (let n = 0; n < 20; n++) expect(await guess()).toBe(401)
  expect(await guess()).toBe(429)
  const noted = await events('session-refused')
  const guesses = noted.filter(({ severity }) => severity === 'warning')
  expect(guesses.length).toBeGreaterThanOrEqual(20)
  expect(JSON.stringify(guesses)).toContain('"reason":"unknown-session"')
  expect(JSON.stringify(noted)).not.toContain('AAAAAAA')
})

test('an address of an account belongs to one; its case does not matter', async () => {
  await makePerson('Ada@example.com')
  const again = await api.call('POST', '/people', { name: 'x', email: 'ada@EXAMPLE.com' })
  expect(again).toMatchObject({ status: 409, body: { code: 'conflict' } })
  const other = await makePerson('bob@example.com')
  const change = async (body: object) => await api.call('PATCH', `/people/${other}`, body)
  expect((await change({ email: 'ADA@example.com' })).status).toBe(409)
  expect((await change({ name: 'Robert' })).body).toMatchObject({ name: 'Robert' })
})

test('nobody gives a person what he has not himself', async () => {
  const { personId, cookie } = await signIn(await makePerson(), 'viewer')
  await api.call('POST', '/roles', { name: 'hr', permissions: ['operators:manage', 'self:read'] })
  await api.call('PUT', `/grants/user:${personId}`, { grants: [{ role: 'hr' }] })
  const body = { name: 'x', email: 'x@example.com', grants: [{ role: 'admin' }] }
  expect((await api.call('POST', '/people', body, own(cookie, page()))).status).toBe(403)
})

test('where a session ends after a minute without use, one that is used goes on', async () => {
  const { config } = api.ctx
  const short = { ...config, session: { ...config.session, idleMs: 60_000 } }
  await using strict = await startApi(handle, { config: short, clock: api.ctx.clock })
  const { cookie } = await signIn(await makePerson())
  const ask = async () =>
    (await strict.call('GET', '/operators/me', undefined, { key: '', headers: { Cookie: cookie } }))
      .status
  for (let n = 0; n < 5; n++) {
    api.ctx.clock.advance({ seconds: 25 })
    expect(await ask()).toBe(200)
  }
  api.ctx.clock.advance({ seconds: 60 })
  expect(await ask()).toBe(401)
})
