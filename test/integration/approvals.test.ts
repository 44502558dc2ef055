import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import type { ApprovalKind } from '../../server/protocol/approvals.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'

interface Person {
  id: string
  key: string
}

let handle: DatabaseHandle
let releases: ReleaseWorld
let ada: Person
let ben: Person
let cleo: Person
beforeAll(async () => {
  handle = await createTestDatabase()
  releases = await ReleaseWorld.ready(handle)
  ;[ada, ben, cleo] = [await givenKey('admin'), await givenKey('admin'), await givenKey('admin')]
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

async function givenKey(role: string, groupIds: string[] = []): Promise<Person> {
  const body = { name: unique('key'), role, groupIds }
  const made = await releases.call('POST', '/api-keys', body)
  return { id: String(made['id']), key: String(made['secret']) }
}

const givenGroup = async () =>
  String((await releases.call('POST', '/groups', { name: unique('group') }))['id'])

const call = async (who: Person, method: string, path: string, body?: unknown) =>
  await releases.api.call(method, path, body, { key: who.key })

async function policy(kind: ApprovalKind, needed = 1, expiresHours = 24, by = ada) {
  const reply = await call(by, 'PUT', `/approval-policies/${kind}`, { needed, expiresHours })
  expect(reply.status, reply.text).toBe(200)
}

const disable = async (who: Person, groupId: string, reason = 'stolen keys') =>
  await call(who, 'POST', `/groups/${groupId}/actions`, { action: 'disable', reason })

async function wanted(reply: Promise<{ status: number; body: Record<string, unknown> }>) {
  const { status, body } = await reply
  expect(status).toBe(409)
  expect(body).toMatchObject({ code: 'approval-needed' })
  return String(body['approvalId'])
}

const act = async (who: Person, id: string, action: string, reason?: string) =>
  await call(who, 'POST', `/approvals/${id}/actions`, { action, ...(reason ? { reason } : {}) })

async function isDisabled(groupId: string): Promise<boolean> {
  return (await releases.call('GET', `/groups/${groupId}`))['incident'] !== null
}

describe('cutting a group off', () => {
  test('takes another one, who sees what is asked; then its author does it, once, and the trail names both', async () => {
    await policy('group-disable')
    const groupId = await givenGroup()
    const id = await wanted(disable(ada, groupId))
    expect(await isDisabled(groupId)).toBe(false)
    // Asking again is the same wish.
    expect(await wanted(disable(ada, groupId))).toBe(id)
    expect((await call(ben, 'GET', '/approvals?state=open')).body.items).toMatchObject([
      { id, kind: 'group-disable', subject: groupId, asked: { reason: 'stolen keys' }, needed: 1 },
    ])
    expect((await act(ben, id, 'approve', 'seen the report')).status).toBe(200)
    // The one who agreed does not do it for its author.
    expect((await disable(cleo, groupId)).status).toBe(409)
    expect((await disable(ada, groupId)).status).toBe(202)
    expect(await isDisabled(groupId)).toBe(true)
    expect((await call(ben, 'GET', `/approvals/${id}`)).body).toMatchObject({
      state: 'used',
      approvals: [{ by: `key:${ben.id}`, reason: 'seen the report' }],
    })
    const [trail] = await handle.db
      .selectFrom('audit_event')
      .select(['actor', 'facts'])
      .where('subject', '=', groupId)
      .where('action', '=', 'group.disable')
      .execute()
    expect(trail).toMatchObject({
      actor: `key:${ada.id}`,
      facts: { approvalId: id, approvedBy: [`key:${ben.id}`] },
    })
    // Letting it back takes nobody; to cut it off again takes a new word.
    const enable = { action: 'enable', reason: 'over' }
    expect((await call(ada, 'POST', `/groups/${groupId}/actions`, enable)).status).toBe(202)
    expect(await wanted(disable(ada, groupId))).not.toBe(id)
  })

  test('one device is cut off by one person, always', async () => {
    await policy('group-disable', 2)
    const device = await releases.device()
    const body = { action: 'disable', reason: 'stolen' }
    expect((await call(ada, 'POST', `/devices/${device.id}/actions`, body)).status).toBe(200)
  })

  test('without a policy nobody is asked', async () => {
    const groupId = await givenGroup()
    expect((await disable(ada, groupId)).status).toBe(202)
  })
})

describe('who decides', () => {
  test('not its author, and not by another key of the same person', async () => {
    await policy('group-disable')
    const person = newId(releases.ctx.clock.now())
    await handle.db
      .insertInto('person')
      .values({
        id: person,
        name: 'Dora',
        email: null,
        state: 'active',
        oidc_issuer: null,
        oidc_subject: null,
        created_by: 'key:test',
        created_at: releases.ctx.clock.now(),
        disabled_at: null,
        last_sign_in_at: null,
      })
      .execute()
    const [one, other] = [await givenKey('admin'), await givenKey('admin')]
    await handle.db
      .updateTable('api_key')
      .set({ owner_id: person })
      .where('id', 'in', [one.id, other.id])
      .execute()
    const groupId = await givenGroup()
    const id = await wanted(disable(one, groupId))
    expect((await act(one, id, 'approve')).status).toBe(403)
    expect((await act(other, id, 'approve')).status).toBe(403)
    expect((await act(other, id, 'withdraw')).status).toBe(200)
    const again = await wanted(disable(one, groupId))
    expect((await act(ben, again, 'approve')).status).toBe(200)
    // Each of the two is the author.
    expect((await disable(other, groupId)).status).toBe(202)
  })

  test('only who may do it himself, where it is done; others do not even see it', async () => {
    await policy('group-disable')
    const [groupId, elsewhere] = [await givenGroup(), await givenGroup()]
    const [viewer, there, here] = [
      await givenKey('viewer'),
      await givenKey('operator', [elsewhere]),
      await givenKey('operator', [groupId]),
    ]
    const id = await wanted(disable(ada, groupId))
    expect((await act(viewer, id, 'approve')).status).toBe(403)
    expect((await act(there, id, 'approve')).status).toBe(404)
    expect((await call(there, 'GET', `/approvals/${id}`)).status).toBe(404)
    expect((await call(there, 'GET', '/approvals')).body.items).toEqual([])
    expect((await act(here, id, 'approve')).status).toBe(200)
    expect((await disable(ada, groupId)).status).toBe(202)
  })
})

describe('what a word is worth', () => {
  test('who refuses ends it, and who asked takes it back', async () => {
    await policy('group-disable')
    const groupId = await givenGroup()
    const id = await wanted(disable(ada, groupId))
    expect((await act(ben, id, 'withdraw')).status).toBe(403)
    expect((await act(ben, id, 'reject', 'wrong group')).status).toBe(200)
    expect((await act(cleo, id, 'approve')).status).toBe(409)
    const next = await wanted(disable(ada, groupId))
    expect(next).not.toBe(id)
    expect((await act(ada, next, 'withdraw')).status).toBe(200)
    expect((await act(ben, next, 'approve')).status).toBe(409)
  })

  test('the word of a key that was revoked, or may do it no more, does not count', async () => {
    await policy('group-disable')
    const groupId = await givenGroup()
    const [gone, less] = [await givenKey('operator'), await givenKey('operator')]
    const id = await wanted(disable(ada, groupId))
    expect((await act(gone, id, 'approve')).status).toBe(200)
    expect((await act(less, id, 'approve')).status).toBe(200)
    await releases.call('DELETE', `/api-keys/${gone.id}`)
    await releases.call('PUT', `/grants/key:${less.id}`, { grants: [{ role: 'viewer' }] })
    expect((await disable(ada, groupId)).body).toMatchObject({ given: 0, needed: 1 })
    expect((await act(ben, id, 'approve')).status).toBe(200)
    expect((await disable(ada, groupId)).status).toBe(202)
  })
})

describe('what was agreed to', () => {
  test('is exactly that: another reason, or another query of the group, is another wish', async () => {
    await policy('group-disable')
    const body = { name: unique('found'), query: 'model = "x"' }
    const groupId = String((await releases.call('POST', '/groups', body))['id'])
    const id = await wanted(disable(ada, groupId))
    expect((await act(ben, id, 'approve')).status).toBe(200)
    expect(await wanted(disable(ada, groupId, 'another reason'))).not.toBe(id)
    await releases.call('PATCH', `/groups/${groupId}`, { query: 'model = "y"' })
    expect(await wanted(disable(ada, groupId))).not.toBe(id)
    expect(await isDisabled(groupId)).toBe(false)
    await releases.call('PATCH', `/groups/${groupId}`, { query: 'model = "x"' })
    expect((await disable(ada, groupId)).status).toBe(202)
  })

  test('is over after its time, for those who decide and for its author', async () => {
    await policy('group-disable', 1, 2)
    const groupId = await givenGroup()
    const id = await wanted(disable(ada, groupId))
    expect((await act(ben, id, 'approve')).status).toBe(200)
    releases.ctx.clock.advance({ seconds: 2 * 3_600 })
    expect((await call(ben, 'GET', `/approvals/${id}`)).body).toMatchObject({ state: 'expired' })
    expect((await act(cleo, id, 'approve')).status).toBe(409)
    expect(await wanted(disable(ada, groupId))).not.toBe(id)
  })

  test('two agree at once: both count; it is done once, however often it is tried at once', async () => {
    await policy('group-disable', 2)
    const groupId = await givenGroup()
    const id = await wanted(disable(ada, groupId))
    const replies = await Promise.all([ben, cleo, ben].map((who) => act(who, id, 'approve')))
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200])
    const done = await Promise.all([1, 2, 3].map(async () => await disable(ada, groupId)))
    // Those that came later find the group cut off, or have to ask anew for what is done.
    expect(done.filter(({ status }) => status === 202).length).toBeGreaterThan(0)
    const used = await handle.db
      .selectFrom('audit_event')
      .select('facts')
      .where('subject', '=', groupId)
      .where('action', '=', 'group.disable')
      .execute()
    expect(used).toHaveLength(1)
  })
})

describe('other things that it can be asked for', () => {
  test('publishing a release; whatever changes in it meanwhile voids it', async () => {
    await policy('publication')
    const build = 700
    const id = await releases.draftRelease({ version: '7.0.0', build })
    const publish = async () =>
      await call(ada, 'POST', `/releases/${id}/actions`, { action: 'publish' })
    await releases.call('POST', `/releases/${id}/actions`, { action: 'submit' })
    await releases.sign('fw-gate-2', releases.keys.release.slice(0, 2))
    const first = await wanted(publish())
    expect((await act(ben, first, 'approve')).status).toBe(200)
    await handle.db
      .updateTable('release')
      .set({ notes: 'other words' })
      .where('id', '=', id)
      .execute()
    const second = await wanted(publish())
    expect(second).not.toBe(first)
    expect((await act(ben, second, 'approve')).status).toBe(200)
    expect((await publish()).body).toMatchObject({ state: 'published' })
    expect((await publish()).body).toMatchObject({ state: 'published' })
  })

  test('roles, grants, keys and the policies themselves', async () => {
    await policy('role-change')
    const name = unique('role')
    const { id: keyId } = cleo
    const calls: [string, string, object][] = [
      ['POST', '/roles', { name, permissions: ['devices:read'] }],
      ['PUT', `/roles/${name}`, { permissions: ['devices:read', 'groups:read'] }],
      ['PUT', `/grants/key:${keyId}`, { grants: [{ role: 'admin' }, { role: name }] }],
      ['PUT', `/grants/key:${keyId}`, { grants: [{ role: 'admin' }] }],
      ['POST', '/api-keys', { name: unique('key'), role: 'viewer' }],
      ['PUT', '/approval-policies/publication', { needed: 1 }],
      ['PUT', '/approval-policies/role-change', { needed: 0 }],
    ]
    for (const [method, path, body] of calls) {
      const id = await wanted(call(ada, method, path, body))
      expect((await act(ben, id, 'approve')).status, path).toBe(200)
      expect((await call(ada, method, path, body)).status, path).toBeLessThan(300)
    }
    expect((await call(ada, 'DELETE', `/roles/${name}`)).status).toBe(204)
  })
})

describe('nothing goes around it', () => {
  test('nor another way of giving rights', async () => {
    await policy('role-change')
    const grants = [{ role: 'viewer', groupIds: [] }]
    const person = { name: 'Eve', email: 'eve@example.org', grants }
    const workload = {
      name: unique('pipeline'),
      issuer: 'https://issuer.example',
      audience: 'fleet',
      subject: 'project:fleet',
      role: 'viewer',
    }
    for (const [path, body] of [
      ['/people', person],
      ['/api-keys', { name: 'x', role: 'viewer' }],
      ['/workloads', workload],
    ] as const) {
      const id = await wanted(call(ada, 'POST', path, body))
      expect((await act(ben, id, 'approve')).status, path).toBe(200)
      expect((await call(ada, 'POST', path, body)).status, path).toBe(201)
    }
  })

  test('a policy that nobody could ever meet is refused', async () => {
    const reply = await call(ada, 'PUT', '/approval-policies/role-change', { needed: 5 })
    expect(reply).toMatchObject({ status: 409, body: { code: 'conflict', needed: 5 } })
    expect((await call(ada, 'GET', '/approval-policies')).body.items).toHaveLength(5)
  })
})
