import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { hashPassword } from '../../server/sign-in/password-hash.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  codeOf,
  cookieOf,
  createMember,
  type Member,
  post,
  showPassword,
  signIn,
} from '../support/sign-in.ts'

let handle: DatabaseHandle
let api: TestApi
let member: Member

beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
  member = await createMember(api)
})
beforeEach(async () => {
  await handle.db.deleteFrom('sign_in_limit').execute()
  api.ctx.clock.advance({ seconds: 60 })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const tryWrong = async (email = member.email) =>
  (await showPassword(api, { email, password: 'not the right password' })).reply
/** As if the account had failed so often, an instant ago. */
const setFailures = async (failures: number) =>
  await handle.db
    .updateTable('sign_in_limit')
    .set({ failures, blocked_until: null })
    .where('subject', 'like', 'account:%')
    .execute()
const forgetNetwork = async () =>
  await handle.db.deleteFrom('sign_in_limit').where('subject', 'like', 'network:%').execute()
const inside = async (cookie: string, path: string, body: object) =>
  await api.call('POST', path, body, {
    key: '',
    headers: { Cookie: cookie, Origin: api.url, 'X-Fleetseal-Request': '1' },
  })

test('after five failures the pauses grow from a minute to an hour, and the right password waits too', async () => {
  for (let n = 0; n < 5; n++) expect((await tryWrong()).status).toBe(401)
  const pauses: unknown[] = []
  for (let n = 0; n < 9; n++) {
    expect((await tryWrong()).status).toBe(401)
    const { reply } = await showPassword(api, member)
    expect(reply).toMatchObject({ status: 429, body: { code: 'rate-limited' } })
    pauses.push(reply.body['retryAfterSeconds'])
    expect(reply.headers.get('retry-after')).toBe(String(reply.body['retryAfterSeconds']))
    await forgetNetwork()
    api.ctx.clock.advance({ seconds: Number(reply.body['retryAfterSeconds']) })
  }
  expect(pauses).toEqual([60, 120, 240, 480, 960, 1920, 3600, 3600, 3600])
  expect((await signIn(api, member)).status).toBe(200)
  expect((await tryWrong()).status).toBe(401)
  expect((await showPassword(api, member)).reply.status).toBe(200)
})

test('an address that nobody has is slowed down in the same way', async () => {
  const answers = []
  for (let n = 0; n < 7; n++) answers.push((await tryWrong('nobody@example.com')).status)
  expect(answers).toEqual([401, 401, 401, 401, 401, 401, 429])
})

test('of many guesses at once no more are looked at than one after the other', async () => {
  const answers = await Promise.all(Array.from({ length: 15 }, async () => await tryWrong()))
  const looked = answers.filter(({ status }) => status === 401)
  expect(looked.length).toBe(6)
  expect(answers.filter(({ status }) => status === 429)).toHaveLength(9)
})

test('at a hundred failures the account is closed until an administrator opens it', async () => {
  await tryWrong()
  await setFailures(99)
  expect((await tryWrong()).status).toBe(401)
  api.ctx.clock.advance({ seconds: 400 * 86_400 })
  const { reply } = await showPassword(api, member)
  expect(reply).toMatchObject({ status: 429, body: { retryAfterSeconds: 86_400 } })
  expect(reply.body['detail']).toContain('ask an administrator')
  expect((await api.call('POST', `/people/${member.id}/unlock`, {})).status).toBe(200)
  expect((await signIn(api, member)).status).toBe(200)
})

test('one network tries twenty names, then it waits, and who is right there costs it nothing', async () => {
  for (let n = 0; n < 20; n++) {
    const status = (await tryWrong(`name${n}@example.com`)).status
    expect(status).toBe(401)
    if (n % 7 === 0) expect((await showPassword(api, member)).reply.status).toBe(200)
  }
  expect((await tryWrong('name20@example.com')).status).toBe(401)
  const { reply } = await showPassword(api, member)
  expect(reply).toMatchObject({ status: 429, body: { retryAfterSeconds: 60 } })
  expect((await post(api, '/sign-in/invitation', { token: 'x'.repeat(43) })).status).toBe(429)
  api.ctx.clock.advance({ seconds: 60 })
  expect((await showPassword(api, member)).reply.status).toBe(200)
})

test('who is signed in shows the second factor although somebody outside has closed the account', async () => {
  const { ticket } = await showPassword(api, member)
  const code = codeOf(api, member.secret)
  const signedIn = await post(api, '/sign-in/second-factor', { ticket, kind: 'totp', code })
  const cookie = cookieOf(signedIn)
  api.ctx.clock.advance({ seconds: 60 })
  await tryWrong()
  await setFailures(99)
  for (let n = 0; n < 25; n++) await tryWrong(n === 0 ? member.email : `name${n}@example.com`)
  expect((await showPassword(api, member)).reply.status).toBe(429)
  const show = async (given: string) =>
    await inside(cookie, '/sign-in/step-up', { kind: 'totp', code: given })
  // Guesses inside are counted all the same.
  for (let n = 0; n < 6; n++) expect((await show('000000')).status).toBe(403)
  expect((await show(codeOf(api, member.secret))).status).toBe(429)
  expect((await api.call('POST', `/people/${member.id}/unlock`, {})).status).toBe(200)
  expect((await show(codeOf(api, member.secret))).status).toBe(200)
})

test('who showed the old password elsewhere begins again after it was changed', async () => {
  const other = await createMember(api)
  const { ticket } = await showPassword(api, other)
  const fresh = { current: other.password, password: 'another tidal marmot' }
  expect((await inside(other.cookie, '/self/password', fresh)).status).toBe(204)
  const code = codeOf(api, other.secret)
  const late = await post(api, '/sign-in/second-factor', { ticket, kind: 'totp', code })
  expect(late.status).toBe(401)
  expect((await signIn(api, { ...other, password: fresh.password })).status).toBe(200)
})

test('while too many passwords are being looked at the answer is to come again, and it costs nothing', async () => {
  const full = async () => {
    const others = Array.from({ length: 32 }, async () => await hashPassword('of somebody else'))
    const { reply } = await showPassword(api, member)
    await Promise.allSettled(others)
    return reply
  }
  let reply = await full()
  // On a slow machine a place may be free again before the request arrives.
  for (let n = 0; n < 20 && reply.status !== 503; n++) reply = await full()
  expect(reply).toMatchObject({ status: 503, body: { code: 'busy' } })
  expect(reply.headers.get('retry-after')).toBe('2')
  const counted = await handle.db
    .selectFrom('sign_in_limit')
    .select('failures')
    .where('failures', '>', 0)
    .execute()
  expect(counted).toEqual([])
  expect((await showPassword(api, member)).reply.status).toBe(200)
})
