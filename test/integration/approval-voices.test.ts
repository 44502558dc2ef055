import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import type { ApprovalKind } from '../../server/protocol/approvals.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'

/*
 * One person is one voice, whatever keys, certificates, pipelines and accounts they have or can get at.
 */
interface Key {
  id: string
  key: string
}

let handle: DatabaseHandle
let releases: ReleaseWorld
/** A key of Dora, who is an administrator. */
let dora: Key
let ben: Key
let cleo: Key
let person: string
beforeAll(async () => {
  handle = await createTestDatabase()
  releases = await ReleaseWorld.ready(handle)
  person = await givenPerson('Dora')
  dora = await givenKey({ ownerId: person })
  ;[ben, cleo] = [await givenKey(), await givenKey()]
})
beforeEach(async () => {
  await handle.db.deleteFrom('approval_policy').execute()
  await handle.db.deleteFrom('approval_request').execute()
})
afterAll(async () => {
  await releases[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

let count = 0
const unique = (word: string) => `${word}-${++count}`

async function givenPerson(name: string): Promise<string> {
  const now = releases.ctx.clock.now()
  const id = newId(now)
  const row = { id, name, email: `${unique('someone')}@example.org`, state: 'active' as const }
  await handle.db
    .insertInto('person')
    .values({ ...row, created_by: 'key:test', created_at: now })
    .execute()
  return id
}

const call = async (who: Key, method: string, path: string, body?: unknown) =>
  await releases.api.call(method, path, body, { key: who.key })

async function givenKey(more: object = {}, by?: Key): Promise<Key> {
  const body = { name: unique('key'), role: 'admin', ...more }
  const made = by
    ? (await call(by, 'POST', '/api-keys', body)).body
    : await releases.call('POST', '/api-keys', body)
  return { id: String(made['id']), key: String(made['secret']) }
}

async function policy(kind: ApprovalKind, needed = 1, by = dora) {
  return await call(by, 'PUT', `/approval-policies/${kind}`, { needed })
}

async function wanted(reply: Promise<{ status: number; body: Record<string, unknown> }>) {
  const { status, body } = await reply
  expect({ status, body }).toMatchObject({ status: 409, body: { code: 'approval-needed' } })
  return String(body['approvalId'])
}

const approve = async (who: Key, id: string) =>
  (await call(who, 'POST', `/approvals/${id}/actions`, { action: 'approve' })).status

async function disableSome(who: Key) {
  const groupId = String((await releases.call('POST', '/groups', { name: unique('group') }))['id'])
  const body = { action: 'disable', reason: 'stolen keys' }
  return async () => await call(who, 'POST', `/groups/${groupId}/actions`, body)
}

test('a key that was made with a key of somebody speaks for them too, whoever is to own it', async () => {
  await policy('group-disable')
  const ben1 = await givenPerson('Ben')
  const others = [await givenKey({}, dora), await givenKey({ ownerId: ben1 }, dora)]
  others.push(await givenKey({}, others[0]))
  const disable = await disableSome(dora)
  const id = await wanted(disable())
  for (const other of others) expect(await approve(other, id)).toBe(403)
  expect(await approve(ben, id)).toBe(200)
  expect((await disable()).status).toBe(202)
})

test('whoever made the secret of a key anew speaks with it: it is no second voice', async () => {
  await policy('group-disable')
  const shared = await givenKey()
  const disable = await disableSome(dora)
  const id = await wanted(disable())
  expect(await approve(shared, id)).toBe(200)
  const { status, body } = await call(dora, 'POST', `/api-keys/${shared.id}/rotation`, {
    overlapHours: 0,
  })
  expect(status).toBe(201)
  const again = await disableSome(dora)
  const next = await wanted(again())
  expect(await approve({ ...shared, key: String(body['secret']) }, next)).toBe(403)
  expect(await approve(cleo, next)).toBe(200)
  expect((await again()).status).toBe(202)
})

test('an account in use is reset by more than one person, where rights are changed by more than one', async () => {
  const taken = await givenPerson('Eve')
  await releases.call('PUT', `/grants/user:${taken}`, { grants: [{ role: 'admin' }] })
  const password = { person_id: taken, hash: 'of a password', changed_at: releases.ctx.clock.now() }
  const use = async () => await handle.db.insertInto('person_password').values(password).execute()
  await use()
  const invite = async () => await call(dora, 'POST', `/people/${taken}/invitations`, {})
  expect((await invite()).status).toBe(201)
  expect((await policy('role-change')).status).toBe(200)
  // Nobody has it any more, so nobody is in the way.
  expect((await invite()).status).toBe(201)
  await use()
  const id = await wanted(invite())
  expect(await approve(ben, id)).toBe(200)
  expect((await invite()).status).toBe(201)
  await use()
  expect(await wanted(invite())).not.toBe(id)
})

test('a policy is not lowered by fewer than it asks for; it is raised by one', async () => {
  expect((await policy('publication', 1)).status).toBe(200)
  const id = await wanted(policy('publication', 0))
  expect(await approve(ben, id)).toBe(200)
  expect((await policy('publication', 0)).status).toBe(200)
  expect((await policy('publication', 1)).status).toBe(200)
  expect((await policy('publication', 2)).status).toBe(200)
  const down = await wanted(policy('publication', 1))
  expect(await approve(ben, down)).toBe(200)
  expect((await policy('publication', 1)).body).toMatchObject({ given: 1, needed: 2 })
  expect(await approve(cleo, down)).toBe(200)
  expect((await policy('publication', 1)).status).toBe(200)
})

test('what takes two others always is said to, and is set to nothing less', async () => {
  const { body } = await call(dora, 'GET', '/approval-policies')
  expect(body.items).toContainEqual(expect.objectContaining({ kind: 'override', needed: 2 }))
  expect((await policy('override', 0)).status).toBe(409)
  expect((await policy('override', 1)).status).toBe(409)
  expect((await policy('override', 2)).status).toBe(200)
  expect((await policy('override', 3)).status).toBe(200)
  const down = await wanted(policy('override', 2))
  expect((await call(ben, 'GET', `/approvals/${down}`)).body).toMatchObject({ kind: 'override' })
})

test('letting somebody back gives rights: only what one has, and by more than one where rights are given so', async () => {
  const gone = await givenPerson('Finn')
  await releases.call('PUT', `/grants/user:${gone}`, { grants: [{ role: 'admin' }] })
  await releases.call('POST', '/roles', { name: 'keeper', permissions: ['operators:manage'] })
  const keeper = await givenKey({ role: 'keeper' })
  const move = async (who: Key, action: string) =>
    await call(who, 'POST', `/people/${gone}/actions`, { action, reason: 'on leave' })
  expect((await move(keeper, 'disable')).status).toBe(200)
  expect((await move(keeper, 'enable')).status).toBe(403)
  expect((await policy('role-change')).status).toBe(200)
  const id = await wanted(move(dora, 'enable'))
  expect(await approve(ben, id)).toBe(200)
  expect((await move(dora, 'enable')).body).toMatchObject({ state: 'active' })
  // To stop somebody takes one, always.
  expect((await move(dora, 'disable')).status).toBe(200)
})

test('a role that changed since is not the role that others agreed to give', async () => {
  const name = unique('role')
  await releases.call('POST', '/roles', { name, permissions: ['devices:read'] })
  const someone = await givenKey({ role: 'viewer' })
  await policy('role-change')
  const grants = { grants: [{ role: name }] }
  const give = async () => await call(dora, 'PUT', `/grants/key:${someone.id}`, grants)
  const id = await wanted(give())
  expect(await approve(ben, id)).toBe(200)
  const more = { permissions: ['devices:read', 'devices:revoke'] }
  const change = async () => await call(cleo, 'PUT', `/roles/${name}`, more)
  expect(await approve(ben, await wanted(change()))).toBe(200)
  expect((await change()).status).toBe(200)
  const next = await wanted(give())
  expect(next).not.toBe(id)
  expect(await approve(ben, next)).toBe(200)
  expect((await give()).status).toBe(200)
})
