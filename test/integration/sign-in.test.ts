import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { flushEvents } from '../../server/events/record.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  codeOf,
  cookieOf,
  createMember,
  createPerson,
  inviteToken,
  password,
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

const auditOf = async (subject: string) => {
  const rows = await handle.db
    .selectFrom('audit_event')
    .select(['action', 'actor'])
    .where('subject', '=', subject)
    .orderBy('seq')
    .execute()
  return rows.map(({ action }) => action)
}
const eventsOf = async (personId: string) => {
  await flushEvents(api.ctx)
  const rows = await handle.db.selectFrom('security_event').selectAll().orderBy('id').execute()
  return rows
    .filter(({ facts }) => JSON.stringify(facts).includes(personId))
    .map(({ kind, facts }) => ({ kind, reason: (facts as { reason?: string }).reason }))
}

test('invited, a password, an app: the account is taken and somebody is signed in', async () => {
  const member = await createMember(api)
  expect(member.recoveryCodes).toHaveLength(10)
  expect(member.cookie).toMatch(/^__Host-fleetseal=[A-Za-z0-9_-]{43}$/)
  expect(await auditOf(member.id)).toEqual([
    'person.create',
    'person.invite',
    'person.accept-invitation',
    'person.sign-in',
  ])
  const kinds = (await eventsOf(member.id)).map(({ kind }) => kind)
  expect(kinds.toSorted()).toEqual(['person-invited', 'person-signed-in'])
})

test('nothing of it is stored as it is, and the log holds none of it', async () => {
  const member = await createMember(api)
  await signIn(api, member)
  const secrets = [member.password, member.secret, member.cookie.split('=')[1] ?? '']
  const stored: string[] = []
  for (const table of [
    'person_password',
    'person_totp',
    'person_recovery_code',
    'sign_in_ticket',
    'operator_session',
    'audit_event',
    'security_event',
  ] as const) {
    stored.push(JSON.stringify(await handle.db.selectFrom(table).selectAll().execute()))
  }
  const all = stored.join() + JSON.stringify(api.log())
  for (const secret of [...secrets, ...member.recoveryCodes]) expect(all).not.toContain(secret)
})

test('the password alone opens nothing; with the next code of the app it does', async () => {
  const member = await createMember(api)
  const { reply, ticket } = await showPassword(api, member)
  expect(reply).toMatchObject({ status: 200, body: { kinds: ['totp', 'recovery-code'] } })
  expect(cookieOf(reply)).toBe('')
  const done = await signIn(api, member)
  expect(done).toMatchObject({ status: 200, body: { personId: member.id, recoveryCodesLeft: 10 } })
  expect(done.headers.get('set-cookie')).toMatch(/; Path=\/; Secure; HttpOnly; SameSite=Strict$/)
  // Another address in another case is the same account.
  const upper = { ...member, email: member.email.toUpperCase() }
  expect((await signIn(api, upper)).status).toBe(200)
  expect(ticket).toMatch(/^[A-Za-z0-9_-]{43}$/)
})

test('a code works once, the one before and the one after too, and no other', async () => {
  const member = await createMember(api)
  const show = async (code: string) => {
    const { ticket } = await showPassword(api, member)
    const reply = await post(api, '/sign-in/second-factor', { ticket, kind: 'totp', code })
    return reply.status
  }
  api.ctx.clock.advance({ seconds: 300 })
  const code = codeOf(api, member.secret)
  expect(await show(codeOf(api, member.secret, -60))).toBe(401)
  expect(await show(codeOf(api, member.secret, 60))).toBe(401)
  expect(await show(codeOf(api, member.secret, -30))).toBe(200)
  expect(await show(code)).toBe(200)
  expect(await show(code)).toBe(401)
  expect(await show(codeOf(api, member.secret, -30))).toBe(401)
  expect(await show(codeOf(api, member.secret, 30))).toBe(200)
  expect((await eventsOf(member.id)).map(({ reason }) => reason)).toEqual(
    expect.arrayContaining(['wrong-code', 'used-before']),
  )
})

test('of two who show the same code at the same moment one gets in', async () => {
  const member = await createMember(api)
  const tickets = await Promise.all(
    [1, 2, 3].map(async () => (await showPassword(api, member)).ticket),
  )
  const code = codeOf(api, member.secret)
  const replies = await Promise.all(
    tickets.map(
      async (ticket) => await post(api, '/sign-in/second-factor', { ticket, kind: 'totp', code }),
    ),
  )
  expect(replies.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 401, 401])
})

test('a ticket is for one sign-in, for ten minutes, and bears six tries', async () => {
  const member = await createMember(api)
  const finish = async (ticket: string, code = codeOf(api, member.secret)) =>
    await post(api, '/sign-in/second-factor', { ticket, kind: 'totp', code })
  const used = await showPassword(api, member)
  expect((await finish(used.ticket)).status).toBe(200)
  api.ctx.clock.advance({ seconds: 30 })
  expect((await finish(used.ticket)).status).toBe(401)
  const old = await showPassword(api, member)
  api.ctx.clock.advance({ seconds: 600 })
  expect((await finish(old.ticket)).status).toBe(401)
  const tried = await showPassword(api, member)
  await handle.db.updateTable('sign_in_ticket').set({ tries: 5 }).execute()
  expect((await finish(tried.ticket, '000000')).status).toBe(401)
  expect(await finish(tried.ticket)).toMatchObject({
    status: 401,
    body: { detail: 'This took too long, or did not fit too often: begin again' },
  })
})

test('a recovery code stands in for the app, once; typed in any way', async () => {
  const member = await createMember(api)
  const [code = ''] = member.recoveryCodes
  const use = async (text: string) => {
    const { ticket } = await showPassword(api, member)
    return await post(api, '/sign-in/second-factor', {
      ticket,
      kind: 'recovery-code',
      code: text,
    })
  }
  expect(await use(code.toLowerCase().replace('-', ' '))).toMatchObject({
    status: 200,
    body: { recoveryCodesLeft: 9 },
  })
  expect((await use(code)).status).toBe(401)
  const other = await createMember(api)
  expect((await use(other.recoveryCodes[0] ?? '')).status).toBe(401)
})

test('a refusal does not tell whether there is such an account', async () => {
  const member = await createMember(api)
  const bare = await createPerson(api)
  const disabled = await createMember(api)
  await api.call('POST', `/people/${disabled.id}/actions`, { action: 'disable', reason: 'left' })
  const answers = []
  for (const given of [
    { email: member.email, password: 'not the right password' },
    { email: 'nobody@example.com', password },
    { email: bare.email, password },
    { email: disabled.email, password },
  ]) {
    const { reply } = await showPassword(api, given)
    const { requestId: _, ...body } = reply.body
    answers.push({ status: reply.status, body })
  }
  expect(answers[0]).toMatchObject({ status: 401, body: { code: 'not-authenticated' } })
  for (const answer of answers) expect(answer).toEqual(answers[0])
})

test('who was disabled between two steps does not get in', async () => {
  const member = await createMember(api)
  const { ticket } = await showPassword(api, member)
  await api.call('POST', `/people/${member.id}/actions`, { action: 'disable', reason: 'left' })
  const code = codeOf(api, member.secret)
  const reply = await post(api, '/sign-in/second-factor', { ticket, kind: 'totp', code })
  expect(reply.status).toBe(401)
  expect(cookieOf(reply)).toBe('')
})

test('a page of another origin signs nobody in', async () => {
  const member = await createMember(api)
  const body = { email: member.email, password: member.password }
  const from = async (headers: Record<string, string>) =>
    (await api.call('POST', '/sign-in/password', body, { key: '', headers })).status
  expect(await from({ Origin: 'https://evil.example' })).toBe(403)
  expect(await from({ 'Sec-Fetch-Site': 'cross-site' })).toBe(403)
  expect(await from({ 'Content-Type': 'text/plain' })).toBe(415)
  expect(await from({ Origin: api.url })).toBe(200)
})

test('an invitation is good once, for 72 hours, and until the next one', async () => {
  const person = await createPerson(api)
  const look = async (token: string) => (await post(api, '/sign-in/invitation', { token })).status
  const first = await inviteToken(api, person.id)
  expect(await look(first)).toBe(200)
  const second = await inviteToken(api, person.id)
  expect([await look(first), await look(second)]).toEqual([401, 200])
  api.ctx.clock.advance({ seconds: 72 * 3_600 })
  expect(await look(second)).toBe(401)
  const member = await createMember(api)
  const accepted = await post(api, '/sign-in/invitation/accept', { token: second, password })
  expect(accepted.status).toBe(401)
  expect((await signIn(api, member)).status).toBe(200)
})

test('of two who take one invitation at the same moment one has the account', async () => {
  const person = await createPerson(api)
  const token = await inviteToken(api, person.id)
  const both = await Promise.all(
    [1, 2].map(async () => {
      const accepted = await post(api, '/sign-in/invitation/accept', { token, password })
      const ticket = String(accepted.body['ticket'])
      const { body } = await post(api, '/sign-in/setup/totp', { ticket })
      return { ticket, secret: String(body['secret']) }
    }),
  )
  const done = await Promise.all(
    both.map(async ({ ticket, secret }) => {
      const code = codeOf(api, secret)
      return (await post(api, '/sign-in/setup', { ticket, kind: 'totp', code })).status
    }),
  )
  expect(done.toSorted((a, b) => a - b)).toEqual([200, 401])
})

test('the same Idempotency-Key answers the same link', async () => {
  const person = await createPerson(api)
  const headers = { 'Idempotency-Key': 'one' }
  const invite = async () =>
    await api.call('POST', `/people/${person.id}/invitations`, {}, { headers })
  const first = await invite()
  expect(first.body['url']).toMatch(/^https:\/\/localhost:\d+\/#\/invitation\/[A-Za-z0-9_-]{43}$/)
  expect((await invite()).body).toEqual(first.body)
})

test('a new invitation for an account in use takes everything from whoever has it', async () => {
  const member = await createMember(api)
  const { ticket } = await showPassword(api, member)
  const token = await inviteToken(api, member.id)
  expect((await showPassword(api, member)).reply.status).toBe(401)
  const code = codeOf(api, member.secret)
  const late = await post(api, '/sign-in/second-factor', { ticket, kind: 'totp', code })
  expect(late.status).toBe(401)
  const sessions = await handle.db
    .selectFrom('operator_session')
    .select('ended_reason')
    .where('person_id', '=', member.id)
    .execute()
  expect(sessions).toEqual([{ ended_reason: 'credentials-changed' }])
  expect((await post(api, '/sign-in/invitation', { token })).status).toBe(200)
  expect((await eventsOf(member.id)).map(({ kind }) => kind)).toContain('person-credentials-reset')
})

test.each([
  ['short', 'eleven chars'.slice(0, 11)],
  ['among the worst', 'Password1234!'],
  ['a run', 'abcdefghijklmnop'],
  ['of one piece', 'xyxyxyxyxyxyxyxy'],
  ['too long', 'é'.repeat(129)],
])('a password that is %s is refused, with what to do', async (_name, given) => {
  const person = await createPerson(api)
  const token = await inviteToken(api, person.id)
  const reply = await post(api, '/sign-in/invitation/accept', { token, password: given })
  expect(reply).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
  expect(JSON.stringify(reply.body['issues'])).toContain('"at":"password"')
  expect(reply.text).not.toContain(given)
})
