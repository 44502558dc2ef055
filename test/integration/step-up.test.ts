import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  codeOf,
  cookieOf,
  createMember,
  inviteToken,
  type Member,
  post,
  showPassword,
  signIn,
} from '../support/sign-in.ts'

let handle: DatabaseHandle
let api: TestApi

beforeAll(async () => {
  handle = await createTestDatabase()
})
beforeEach(async () => {
  await handle.db.deleteFrom('sign_in_limit').execute()
  api = await startApi(handle)
})
afterEach(async () => await api[Symbol.asyncDispose]())
afterAll(async () => await handle[Symbol.asyncDispose]())

/** As a page of this server does. */
const as = (cookie: string) => ({
  call: async (method: string, path: string, body?: unknown) =>
    await api.call(method, path, body, {
      key: '',
      headers: { Cookie: cookie, Origin: api.url, 'X-Fleetseal-Request': '1' },
    }),
})
const key = { name: 'x', role: 'viewer' }
const stepUp = async (member: Member, code = codeOf(api, member.secret)) =>
  await as(member.cookie).call('POST', '/sign-in/step-up', { kind: 'totp', code })

test('for ten minutes after the sign-in nothing more is asked, then the second factor again', async () => {
  const member = await createMember(api)
  const session = as(member.cookie)
  expect((await session.call('POST', '/api-keys', key)).status).toBe(201)
  api.ctx.clock.advance({ seconds: 600 })
  expect(await session.call('POST', '/api-keys', key)).toMatchObject({
    status: 403,
    body: { code: 'step-up-needed', stepUp: '/api/v1/sign-in/step-up' },
  })
  expect((await session.call('GET', '/api-keys')).status).toBe(200)
  const done = await stepUp(member)
  expect(done.status).toBe(200)
  expect(await as(cookieOf(done)).call('POST', '/api-keys', key)).toMatchObject({ status: 201 })
  // Whoever copied the cookie before has nothing any more.
  expect((await session.call('GET', '/api-keys')).status).toBe(401)
})

test('only the actions that cannot be undone ask for it', async () => {
  const member = await createMember(api)
  const { body: device } = await api.call('POST', '/devices', { serialNumber: 'su-1' })
  api.ctx.clock.advance({ seconds: 600 })
  const act = async (action: string) => {
    const path = `/devices/${String(device['id'])}/actions`
    return (await as(member.cookie).call('POST', path, { action, reason: 'r' })).body['code']
  }
  expect(await act('revoke')).toBe('step-up-needed')
  expect(await act('disable')).toBe('step-up-needed')
  expect(await act('enable')).toBeUndefined()
})

test('a key has nobody who could show a factor: it is not asked', async () => {
  api.ctx.clock.advance({ seconds: 3_600 })
  expect((await api.call('POST', '/api-keys', key)).status).toBe(201)
  expect((await api.call('GET', '/self')).body).toMatchObject({ code: 'not-ready' })
  const code = { kind: 'totp', code: '123456' }
  expect((await api.call('POST', '/sign-in/step-up', code)).status).toBe(409)
})

test('a wrong factor steps nobody up, and the session goes on', async () => {
  const member = await createMember(api)
  api.ctx.clock.advance({ seconds: 600 })
  expect(await stepUp(member, '000000')).toMatchObject({
    status: 403,
    body: { code: 'not-allowed' },
  })
  const { status } = await as(member.cookie).call('GET', '/self')
  expect(status).toBe(200)
  const other = await createMember(api)
  // The factor of somebody else is no factor.
  const code = codeOf(api, other.secret)
  expect((await stepUp(member, code)).status).toBe(403)
})

test('a step-up is counted as the sign-in is: a stolen session cannot try all codes', async () => {
  const member = await createMember(api)
  const answers: number[] = []
  for (let n = 0; n < 7; n++) answers.push((await stepUp(member, '000000')).status)
  expect(answers).toEqual([403, 403, 403, 403, 403, 403, 429])
  expect((await stepUp(member)).status).toBe(429)
})

test('who signed in sees what they sign in with, and ends other sessions', async () => {
  const member = await createMember(api)
  const second = cookieOf(await signIn(api, member))
  const self = await as(second).call('GET', '/self')
  expect(self.body).toMatchObject({
    person: { id: member.id, email: member.email },
    credentials: { hasPassword: true, passkeys: [], recoveryCodesLeft: 10 },
  })
  const { body } = await as(second).call('GET', '/self/sessions')
  expect(body.items).toHaveLength(2)
  expect((await as(second).call('DELETE', '/self/sessions')).status).toBe(204)
  expect((await as(member.cookie).call('GET', '/self')).status).toBe(401)
  expect((await as(second).call('GET', '/self/sessions')).body.items).toHaveLength(1)
  const stranger = await createMember(api)
  const [own] = (await as(second).call('GET', '/self/sessions')).body.items ?? []
  await as(stranger.cookie).call('DELETE', `/self/sessions/${String(own?.['id'])}`)
  expect((await as(second).call('GET', '/self')).status).toBe(200)
})

test('a new password needs the old one, and ends all other sessions', async () => {
  const member = await createMember(api)
  const here = as(cookieOf(await signIn(api, member)))
  const change = async (current: string, password: string) =>
    await here.call('POST', '/self/password', { current, password })
  expect((await change('something else entirely', 'a fresh long password')).status).toBe(400)
  expect((await change(member.password, 'short')).status).toBe(400)
  expect((await change(member.password, 'a fresh long password')).status).toBe(204)
  expect((await as(member.cookie).call('GET', '/self')).status).toBe(401)
  expect((await here.call('GET', '/self')).status).toBe(200)
  expect((await showPassword(api, member)).reply.status).toBe(401)
  const next = { ...member, password: 'a fresh long password' }
  expect((await showPassword(api, next)).reply.status).toBe(200)
})

test('the last second factor stays; another app takes the place of the one before', async () => {
  const member = await createMember(api)
  const here = as(member.cookie)
  expect((await here.call('DELETE', '/self/totp')).status).toBe(409)
  const offer = await here.call('POST', '/self/totp', {})
  const secret = String(offer.body['secret'])
  const ticket = String(offer.body['ticket'])
  const add = async (code: string, cookie = member.cookie) =>
    (await as(cookie).call('POST', '/self/factors', { ticket, kind: 'totp', code })).status
  expect(await add('000000')).toBe(400)
  const stranger = await createMember(api)
  expect(await add(codeOf(api, secret), stranger.cookie)).toBe(409)
  expect(await add(codeOf(api, secret))).toBe(204)
  expect(await add(codeOf(api, secret))).toBe(409)
  api.ctx.clock.advance({ seconds: 30 })
  expect((await signIn(api, member)).status).toBe(401)
  expect((await signIn(api, { ...member, secret })).status).toBe(200)
})

test('new recovery codes void the ones before', async () => {
  const member = await createMember(api)
  const { body } = await as(member.cookie).call('POST', '/self/recovery-codes', {})
  const [fresh = ''] = body['recoveryCodes'] as string[]
  const use = async (code = '') => {
    const { ticket } = await showPassword(api, member)
    const shown = { ticket, kind: 'recovery-code', code }
    return (await post(api, '/sign-in/second-factor', shown)).status
  }
  expect(await use(member.recoveryCodes[0])).toBe(401)
  expect(await use(fresh)).toBe(200)
})

test('changes to what one signs in with ask for the factor again, and are recorded', async () => {
  const member = await createMember(api)
  await as(member.cookie).call('POST', '/self/recovery-codes', {})
  const actions = await handle.db
    .selectFrom('audit_event')
    .select('action')
    .where('actor', '=', `user:${member.id}`)
    .execute()
  expect(actions.map(({ action }) => action)).toContain('person.renew-recovery-codes')
  api.ctx.clock.advance({ seconds: 600 })
  for (const [method, path, body] of [
    ['POST', '/self/password', { current: 'x', password: 'y' }],
    ['POST', '/self/totp', {}],
    ['DELETE', '/self/totp', undefined],
    ['POST', '/self/passkeys', {}],
    ['POST', '/self/recovery-codes', {}],
  ] as const) {
    const reply = await as(member.cookie).call(method, path, body)
    expect(reply.body, path).toMatchObject({ code: 'step-up-needed' })
  }
})

test('nobody makes a link to the account of somebody who may more', async () => {
  const admin = await createMember(api)
  const role = { name: 'people-desk', description: '', permissions: ['operators:manage'] }
  expect((await api.call('POST', '/roles', role)).status).toBe(201)
  const desk = await createMember(api, [{ role: 'people-desk', groupIds: [] }])
  const viewer = await createMember(api, [])
  const invite = async (personId: string) =>
    (await as(desk.cookie).call('POST', `/people/${personId}/invitations`, {})).status
  expect(await invite(admin.id)).toBe(403)
  expect(await invite(viewer.id)).toBe(201)
  expect(await inviteToken(api, admin.id)).toMatch(/^[\w-]{43}$/)
})

test('an administrator sees a lock and opens it', async () => {
  const member = await createMember(api)
  const wrong = { email: member.email, password: 'not the right password' }
  for (let n = 0; n < 6; n++) expect((await showPassword(api, wrong)).reply.status).toBe(401)
  expect((await showPassword(api, member)).reply.status).toBe(429)
  const { body } = await api.call('GET', `/people/${member.id}/account`)
  expect(body).toMatchObject({ failures: 6, hasPassword: true })
  expect(body['blockedUntil']).not.toBeNull()
  const opened = await api.call('POST', `/people/${member.id}/unlock`, {})
  expect(opened.body).toMatchObject({ failures: 0, blockedUntil: null })
  expect((await showPassword(api, member)).reply.status).toBe(200)
})
