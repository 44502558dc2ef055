import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'

/*
 * Deciding over an owner takes people, not keys; a policy may want more of them, and give them less time.
 */
interface Key {
  id: string
  key: string
}

let handle: DatabaseHandle
let releases: ReleaseWorld
let fix: string
let [ada, ben, cleo, dan] = [{}, {}, {}, {}] as [Key, Key, Key, Key]
beforeAll(async () => {
  handle = await createTestDatabase()
  releases = await ReleaseWorld.ready(handle)
  fix = await releases.publishRelease()
})
beforeEach(async () => {
  await handle.db.deleteFrom('approval_policy').execute()
  ;[ada, ben, cleo, dan] = [await givenKey(), await givenKey(), await givenKey(), await givenKey()]
})
afterAll(async () => {
  await releases[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

let count = 0
const unique = (word: string) => `${word}-${++count}`

async function givenKey(more: object = {}): Promise<Key> {
  const body = { name: unique('key'), role: 'operator', ...more }
  const made = await releases.call('POST', '/api-keys', body)
  return { id: String(made['id']), key: String(made['secret']) }
}

async function givenPerson(): Promise<string> {
  const now = releases.ctx.clock.now()
  const id = newId(now)
  const row = { id, name: unique('Dora'), email: null, state: 'active' as const }
  await handle.db
    .insertInto('person')
    .values({ ...row, created_by: 'key:test', created_at: now })
    .execute()
  return id
}

async function givenPolicy(needed: number, expires_hours = 24) {
  const row = {
    needed,
    expires_hours,
    changed_by: 'key:test',
    changed_at: releases.ctx.clock.now(),
  }
  await handle.db
    .insertInto('approval_policy')
    .values({ kind: 'override', ...row })
    .onConflict((oc) => oc.column('kind').doUpdateSet(row))
    .execute()
}

const call = async (who: Key, method: string, path: string, body?: unknown) =>
  await releases.api.call(method, path, body, { key: who.key })

async function givenDeployment(): Promise<{ id: string; deviceId: string }> {
  const device = await releases.device({ managed: true })
  return { id: await releases.deploy(device.id, fix), deviceId: device.id }
}

async function ask(who: Key, deploymentId: string) {
  const until = new Date(releases.ctx.clock.now().getTime() + 20 * 86_400_000).toISOString()
  const body = { reason: 'The worm spreads', until }
  return await call(who, 'POST', `/deployments/${deploymentId}/overrides`, body)
}

async function asked(who: Key): Promise<string> {
  const { id } = await givenDeployment()
  const { status, body } = await ask(who, id)
  expect(status).toBe(201)
  return String(body['id'])
}

async function approve(who: Key, id: string) {
  const { status, body } = await call(who, 'POST', `/overrides/${id}/actions`, {
    action: 'approve',
  })
  return status === 200 ? body['inForce'] : status
}

test('one person is one voice, by whatever keys: as author, and among those who approve', async () => {
  const ownerId = await givenPerson()
  const [one, other] = [await givenKey({ ownerId }), await givenKey({ ownerId })]
  const id = await asked(one)
  expect(await approve(other, id)).toBe(409)
  expect(await approve(ben, id)).toBe(false)
  expect(await approve(cleo, id)).toBe(true)
  const next = await asked(ada)
  expect(await approve(one, next)).toBe(false)
  expect(await approve(other, next)).toBe(409)
  expect(await approve(ben, next)).toBe(true)
})

test('two at least, whatever a policy says; more, where it says so, and what is signed names two', async () => {
  await givenPolicy(1)
  const id = await asked(ada)
  expect(await approve(ben, id)).toBe(false)
  expect(await approve(cleo, id)).toBe(true)
  await givenPolicy(3)
  const device = await releases.device({ managed: true })
  const { body } = await ask(ada, await releases.deploy(device.id, fix))
  expect(body).toMatchObject({ needed: 3 })
  const next = String(body['id'])
  expect(await approve(ben, next)).toBe(false)
  expect(await approve(cleo, next)).toBe(false)
  expect((await device.poll()).policy?.override).toBeUndefined()
  expect(await approve(dan, next)).toBe(true)
  const { policy } = await device.poll()
  expect(policy?.override?.by).toEqual([`key:${ben.id}`, `key:${cleo.id}`])
})

test('the policy of now counts: raised, more are wanted; lowered, who spoke already may say so again', async () => {
  await givenPolicy(2)
  const id = await asked(ada)
  expect(await approve(ben, id)).toBe(false)
  await givenPolicy(3)
  expect(await approve(cleo, id)).toBe(false)
  expect(await approve(cleo, id)).toBe(409)
  await givenPolicy(0)
  expect(await approve(cleo, id)).toBe(true)
})

test('those who agree have as long as the policy says; then it is asked for anew', async () => {
  await givenPolicy(2, 2)
  const { id: deploymentId } = await givenDeployment()
  const { body } = await ask(ada, deploymentId)
  const id = String(body['id'])
  expect(await approve(ben, id)).toBe(false)
  expect((await ask(ada, deploymentId)).status).toBe(409)
  releases.ctx.clock.advance({ seconds: 2 * 3_600 })
  expect(await approve(cleo, id)).toBe(409)
  const again = await ask(ada, deploymentId)
  expect(again.status).toBe(201)
  const next = String(again.body['id'])
  expect([await approve(ben, next), await approve(cleo, next)]).toEqual([false, true])
  // What is in force is so until its own time is over.
  releases.ctx.clock.advance({ seconds: 2 * 3_600 })
  const { items } = (await call(ada, 'GET', `/deployments/${deploymentId}/overrides`)).body
  expect(items).toMatchObject([{ id: next, inForce: true }, { id }])
})

test('the word of who cannot sign in any more, or may do it no more, or not there, does not count', async () => {
  const { id: deploymentId, deviceId } = await givenDeployment()
  const groupId = String((await releases.call('POST', '/groups', { name: unique('group') }))['id'])
  const member = { group_id: groupId, device_id: deviceId }
  await handle.db.insertInto('device_group_member').values(member).execute()
  const there = await givenKey({ groupIds: [groupId] })
  const id = String((await ask(ada, deploymentId)).body['id'])
  expect(await approve(ben, id)).toBe(false)
  await releases.call('DELETE', `/api-keys/${ben.id}`)
  expect(await approve(there, id)).toBe(false)
  await handle.db.deleteFrom('device_group_member').where('group_id', '=', groupId).execute()
  expect(await approve(cleo, id)).toBe(false)
  await releases.call('PUT', `/grants/key:${cleo.id}`, { grants: [{ role: 'viewer' }] })
  expect(await approve(dan, id)).toBe(false)
  const last = await givenKey()
  expect(await approve(last, id)).toBe(true)
  const { items } = (await call(ada, 'GET', `/deployments/${deploymentId}/overrides`)).body
  expect(items).toMatchObject([{ approvedBy: [`key:${dan.id}`, `key:${last.id}`] }])
})
