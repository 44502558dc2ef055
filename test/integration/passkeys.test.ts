import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { flushEvents } from '../../server/events/record.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { type Lies, SoftPasskey } from '../support/passkey.ts'
import {
  cookieOf,
  createMember,
  createPerson,
  inviteToken,
  type Member,
  showPassword,
} from '../support/sign-in.ts'

let handle: DatabaseHandle
let api: TestApi
/** Where the pages of the server are: a passkey belongs to a name. */
let origin: string
let holder: Holder

beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
  origin = api.ctx.config.publicUrl
  holder = await createHolder()
})
beforeEach(async () => {
  await handle.db.deleteFrom('sign_in_limit').execute()
  api.ctx.clock.advance({ seconds: 1 })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const page = async (path: string, body: object, headers: Record<string, string> = {}) =>
  await api.call('POST', path, body, {
    key: '',
    headers: { Origin: origin, 'X-Fleetseal-Request': '1', ...headers },
  })
const as = (cookie: string) => async (path: string, body: object) =>
  await page(path, body, { Cookie: cookie })
const questionIn = (body: Record<string, unknown>) =>
  body['options'] as { challenge: string; user?: { id: string } }

/** Somebody with a password, an app and a passkey. */
type Holder = Member & { passkey: SoftPasskey }
async function createHolder(): Promise<Holder> {
  const member = await createMember(api)
  const passkey = new SoftPasskey(origin)
  const { body } = await as(member.cookie)('/self/passkeys', {})
  const response = passkey.create(questionIn(body))
  const added = { ticket: body['ticket'], kind: 'passkey', response }
  const reply = await as(member.cookie)('/self/factors', added)
  if (reply.status !== 204) throw new Error(reply.text)
  return { ...member, passkey }
}

async function signInWith(passkey: SoftPasskey, lies: Lies = {}) {
  const { body } = await page('/sign-in/passkey', {})
  const response = passkey.get(questionIn(body), lies)
  const shown = { ticket: body['ticket'], kind: 'passkey', response }
  return { shown, reply: await page('/sign-in/second-factor', shown) }
}

/** What operators are told of refusals that concern somebody. */
async function refusalsOf(personId: string): Promise<unknown[]> {
  await flushEvents(api.ctx)
  const rows = await handle.db
    .selectFrom('security_event')
    .selectAll()
    .where('kind', '=', 'person-sign-in-refused')
    .orderBy('id')
    .execute()
  return rows
    .filter(({ facts }) => JSON.stringify(facts).includes(personId))
    .map(({ severity, facts }) => `${severity} ${(facts as { reason?: string }).reason}`)
}

test('a passkey signs in by itself, and as the second factor', async () => {
  const { reply } = await signInWith(holder.passkey)
  expect(reply).toMatchObject({ status: 200, body: { personId: holder.id } })
  expect(cookieOf(reply)).toMatch(/^__Host-fleetseal=/)
  const { ticket } = await showPassword(api, holder)
  const { body } = await page('/sign-in/second-factor/passkey', { ticket })
  const response = holder.passkey.get(questionIn(body))
  const second = await page('/sign-in/second-factor', { ticket, kind: 'passkey', response })
  expect(second).toMatchObject({ status: 200, body: { personId: holder.id } })
})

test('an account can be taken with a passkey alone', async () => {
  const person = await createPerson(api)
  const token = await inviteToken(api, person.id)
  const accepted = await page('/sign-in/invitation/accept', { token })
  const { ticket } = accepted.body
  const passkey = new SoftPasskey(origin)
  const { body } = await page('/sign-in/setup/passkey', { ticket })
  const response = passkey.create(questionIn(body))
  const done = await page('/sign-in/setup', { ticket, kind: 'passkey', response })
  expect(done).toMatchObject({ status: 200, body: { personId: person.id, recoveryCodes: [] } })
  expect((await signInWith(passkey)).reply.status).toBe(200)
})

test.each<[string, Lies]>([
  ['for another page', { origin: 'https://localhost.evil.example' }],
  ['for another port of the same name', { origin: 'https://localhost:9' }],
  ['for another name', { rpId: 'evil.example' }],
  ['without a finger, a face or a PIN', { isUnverified: true }],
  ['as a new passkey', { type: 'webauthn.create' }],
  ['for somebody else', { userHandle: Buffer.from('somebody').toString('base64url') }],
  ['in a frame of another page', { isCrossOrigin: true }],
])('what a passkey signed %s opens nothing', async (_name, lies) => {
  const { passkey } = holder
  const { reply } = await signInWith(passkey, lies)
  expect(reply).toMatchObject({ status: 401, body: { code: 'not-authenticated' } })
  expect(cookieOf(reply)).toBe('')
  expect((await signInWith(passkey)).reply.status).toBe(200)
})

test.each<[string, Lies]>([
  ['on another page', { origin: 'https://localhost.evil.example' }],
  ['for another name', { rpId: 'evil.example' }],
  ['without a finger, a face or a PIN', { isUnverified: true }],
  ['by asking for one that is there', { type: 'webauthn.get' }],
  ['in a frame of another page', { isCrossOrigin: true }],
])('a passkey that was made %s is not taken', async (_name, lies) => {
  const member = await createMember(api)
  const { body } = await as(member.cookie)('/self/passkeys', {})
  const add = async (response: object) =>
    await as(member.cookie)('/self/factors', { ticket: body['ticket'], kind: 'passkey', response })
  const made = new SoftPasskey(origin).create(questionIn(body), lies)
  expect(await add(made)).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
  expect((await add(new SoftPasskey(origin).create(questionIn(body)))).status).toBe(204)
})

test('a counter that did not go on is a copied key: refused, and somebody is told', async () => {
  const { id, passkey } = await createHolder()
  expect((await signInWith(passkey, { counter: 7 })).reply.status).toBe(200)
  expect((await signInWith(passkey, { counter: 7 })).reply.status).toBe(401)
  expect((await signInWith(passkey, { counter: 3 })).reply.status).toBe(401)
  expect(await refusalsOf(id)).toContain('critical passkey-counter-behind')
  expect((await signInWith(passkey, { counter: 8 })).reply.status).toBe(200)
})

test('a key that does not count is none that was copied', async () => {
  const { passkey } = await createHolder()
  for (let n = 0; n < 2; n++) {
    expect((await signInWith(passkey, { counter: 0 })).reply.status).toBe(200)
  }
})

test('a question is answered once, and not with the answer to another', async () => {
  const { passkey } = holder
  const { shown, reply } = await signInWith(passkey)
  expect(reply.status).toBe(200)
  expect((await page('/sign-in/second-factor', shown)).status).toBe(401)
  const { body } = await page('/sign-in/passkey', {})
  const old = { ...shown, ticket: body['ticket'] }
  expect((await page('/sign-in/second-factor', old)).status).toBe(401)
  const both = await page('/sign-in/passkey', {})
  const response = passkey.get(questionIn(both.body))
  const raced = { ticket: both.body['ticket'], kind: 'passkey', response }
  const statuses = await Promise.all(
    [1, 2, 3].map(async () => (await page('/sign-in/second-factor', raced)).status),
  )
  expect(statuses.toSorted((a, b) => a - b)).toEqual([200, 401, 401])
})

test('a signature by another key opens nothing', async () => {
  const { passkey } = holder
  const { body } = await page('/sign-in/passkey', {})
  const forged = new SoftPasskey(origin).get(questionIn(body))
  const id = passkey.id.toString('base64url')
  const shown = { ticket: body['ticket'], kind: 'passkey', response: { ...forged, id, rawId: id } }
  expect((await page('/sign-in/second-factor', shown)).status).toBe(401)
})

test('after a password only a passkey of the same person fits', async () => {
  const other = await createHolder()
  const show = async (passkey: SoftPasskey) => {
    const { ticket } = await showPassword(api, holder)
    const { body } = await page('/sign-in/second-factor/passkey', { ticket })
    const response = passkey.get(questionIn(body))
    return (await page('/sign-in/second-factor', { ticket, kind: 'passkey', response })).status
  }
  expect(await show(other.passkey)).toBe(401)
  expect(await show(holder.passkey)).toBe(200)
})

test('a passkey is one account\u2019s, and a question is for the session that asked', async () => {
  const thief = await createMember(api)
  const own = await signInWith(holder.passkey)
  const stepUp = async (passkey: SoftPasskey, answerer: string) => {
    const asked = await as(cookieOf(own.reply))('/sign-in/step-up/options', {})
    const offer = asked.body['passkey'] as Record<string, unknown>
    const response = passkey.get(questionIn(offer))
    const shown = { ticket: offer['ticket'], kind: 'passkey', response }
    return (await as(answerer)('/sign-in/step-up', shown)).status
  }
  expect(await stepUp(holder.passkey, thief.cookie)).not.toBe(200)
  const other = await createHolder()
  expect(await stepUp(other.passkey, cookieOf(own.reply))).toBe(403)
  expect(await stepUp(holder.passkey, cookieOf(own.reply))).toBe(200)
  const { body } = await as(thief.cookie)('/self/passkeys', {})
  const again = holder.passkey.create(questionIn(body))
  const add = { ticket: body['ticket'], kind: 'passkey', response: again }
  expect((await as(thief.cookie)('/self/factors', add)).status).toBe(409)
})

test('whoever is disabled has no passkey', async () => {
  const { id, passkey } = await createHolder()
  await api.call('POST', `/people/${id}/actions`, { action: 'disable', reason: 'left' })
  expect((await signInWith(passkey)).reply.status).toBe(401)
})

test('guesses in the same network keep no passkey out, and nobody crowds out the questions of others', async () => {
  for (let n = 0; n < 22; n++) {
    await showPassword(api, { email: `name${n}@example.com`, password: 'not the right one' })
  }
  expect((await showPassword(api, holder)).reply.status).toBe(429)
  expect((await signInWith(holder.passkey)).reply.status).toBe(200)
  api.ctx.clock.advance({ seconds: 60 })
  for (let n = 0; n < 60; n++) expect((await page('/sign-in/passkey', {})).status).toBe(200)
  const refused = await page('/sign-in/passkey', {})
  expect(refused).toMatchObject({ status: 429, body: { code: 'rate-limited' } })
  expect(refused.headers.get('retry-after')).toBe('5')
  api.ctx.clock.advance({ seconds: 5 })
  expect((await signInWith(holder.passkey)).reply.status).toBe(200)
})
