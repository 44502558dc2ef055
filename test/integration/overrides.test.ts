import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { heldVersions } from '../../pki/tuf/bundle.ts'
import { verifyBundle } from '../../pki/tuf/verify.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { createTestDatabase } from '../support/database.ts'
import { ReleaseWorld } from '../support/release-world.ts'
import { historyOf } from '../support/rollout-given.ts'
import { hello, report } from '../support/rollout-messages.ts'
import { installedBuild, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let releases: ReleaseWorld
let world: RolloutWorld
const keys: Record<'author' | 'first' | 'second', { id: string; secret: string }> = {
  author: { id: '', secret: '' },
  first: { id: '', secret: '' },
  second: { id: '', secret: '' },
}
let fix = ''
let feature = ''
beforeAll(async () => {
  handle = await createTestDatabase()
  releases = await ReleaseWorld.ready(handle)
  world = rolloutWorld(handle)
  keys.author = releases.api.keys.admin
  keys.first = releases.api.keys.operator
  const made = await releases.call('POST', '/api-keys', { name: 'second', role: 'operator' })
  keys.second = { id: String(made['id']), secret: String(made['secret']) }
  fix = await releases.publishRelease()
  const body = { class: 'feature', component: 'radio', version: '1.0.0', build: 1 }
  feature = await releases.publishRelease(body)
})
afterAll(async () => {
  await releases[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const inHours = (n: number) =>
  new Date(releases.ctx.clock.now().getTime() + n * 3_600_000).toISOString()

async function given({ managed = true, release = fix } = {}) {
  const device = await releases.device({ managed })
  const id = await releases.deploy(device.id, release)
  return { device, id }
}

async function ask(id: string, body: Record<string, unknown> = {}) {
  const wanted = { reason: 'The worm spreads', until: inHours(48), ...body }
  return await releases.api.call('POST', `/deployments/${id}/overrides`, wanted)
}

async function approve(overrideId: unknown, who: keyof typeof keys, action = 'approve') {
  const path = `/overrides/${String(overrideId)}/actions`
  return await releases.api.call('POST', path, { action }, { key: keys[who].secret })
}

describe('who may be overridden', () => {
  test('95 an opted-out consumer device may not; a managed one may', async () => {
    const { device, id } = await given({ managed: false })
    await handle.db
      .updateTable('device')
      .set({ update_opt_out: true })
      .where('id', '=', device.id)
      .execute()
    const refused = await ask(id)
    expect(refused).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect(refused.body['detail']).toContain('The owner of this device decides')
    const managed = await given()
    expect(await ask(managed.id)).toMatchObject({ status: 201, body: { inForce: false } })
  })

  test('95 the profile alone, or the device alone, makes none managed', async () => {
    const { device, id } = await given()
    const says = async (agreed: boolean) => {
      await hello(world, device.id, {
        hardwareIds: ['gate-2-r3'],
        installed: [installedBuild(400)],
        managed: agreed,
      })
    }
    await says(false)
    expect((await ask(id)).status).toBe(409)
    await says(true)
    expect((await ask(id)).status).toBe(201)
    const { device: other, id: consumer } = await given({ managed: false })
    await hello(world, other.id, { hardwareIds: ['gate-2-r3'], managed: true })
    expect((await ask(consumer)).status).toBe(409)
  })

  test('features are never decided over an owner, and neither is what has been installed', async () => {
    const { id } = await given({ release: feature })
    expect(await ask(id)).toMatchObject({ status: 409 })
    const { device, id: begun } = await given()
    await report(world, device.id, begun, 'installing')
    expect(await ask(begun)).toMatchObject({ status: 409, body: { state: 'installing' } })
  })

  test('96 only for a time, with a reason that can be signed', async () => {
    const { id } = await given()
    expect((await ask(id, { until: inHours(-1) })).status).toBe(400)
    expect((await ask(id, { until: inHours(24 * 31) })).status).toBe(400)
    expect((await ask(id, { reason: '' })).status).toBe(400)
    expect((await ask(id, { reason: 'a "quote"' })).status).toBe(400)
    expect((await ask(id)).status).toBe(201)
    expect(await ask(id)).toMatchObject({ status: 409, body: { overrideId: expect.any(String) } })
  })
})

describe('two others than its author', () => {
  test('96 one approver is not enough, the author and the same one twice are refused, two are', async () => {
    const { device, id } = await given()
    const { body } = await ask(id)
    const signed = async () => (await device.poll()).policy?.override
    expect(await approve(body['id'], 'author')).toMatchObject({ status: 409 })
    expect(await approve(body['id'], 'first')).toMatchObject({
      status: 200,
      body: { inForce: false },
    })
    expect(await signed()).toBeUndefined()
    const twice = await approve(body['id'], 'first')
    expect(twice).toMatchObject({
      status: 409,
      body: { detail: expect.stringContaining('already') },
    })
    expect(await approve(body['id'], 'second')).toMatchObject({
      status: 200,
      body: { inForce: true },
    })
    expect(await signed()).toEqual({
      by: [`key:${keys.first.id}`, `key:${keys.second.id}`],
      reason: 'The worm spreads',
      until: `${String(body['until']).slice(0, 19)}Z`,
    })
    const audited = await handle.db
      .selectFrom('audit_event')
      .select(['action', 'actor'])
      .where('subject', '=', id)
      .where('action', 'like', 'override.%')
      .orderBy('seq')
      .execute()
    expect(audited).toEqual([
      { action: 'override.ask', actor: `key:${keys.author.id}` },
      { action: 'override.approve', actor: `key:${keys.first.id}` },
      { action: 'override.approve', actor: `key:${keys.second.id}` },
    ])
  })

  test('96 one that has expired is neither approved nor signed', async () => {
    const { device, id } = await given()
    const { body } = await ask(id, { until: inHours(2) })
    await approve(body['id'], 'first')
    const half = await given()
    const { body: other } = await ask(half.id, { until: inHours(2) })
    await approve(body['id'], 'second')
    expect((await device.poll()).policy?.override).toBeDefined()
    releases.ctx.clock.advance({ seconds: 3 * 3_600 })
    expect((await device.poll()).policy?.override).toBeUndefined()
    expect(await approve(other['id'], 'first')).toMatchObject({ status: 409 })
    // It makes room for another.
    expect((await ask(half.id)).status).toBe(201)
  })
})

describe('an override that was asked for', () => {
  test('taken back, it is signed no longer', async () => {
    const { device, id } = await given()
    const { body } = await ask(id)
    await approve(body['id'], 'first')
    await approve(body['id'], 'second')
    expect(await approve(body['id'], 'first', 'revoke')).toMatchObject({ body: { inForce: false } })
    expect((await device.poll()).policy?.override).toBeUndefined()
    expect((await approve(body['id'], 'second')).status).toBe(409)
    const list = await releases.api.call('GET', `/deployments/${id}/overrides`)
    expect(list.body.items).toMatchObject([{ revokedBy: `key:${keys.first.id}` }])
  })

  test('two approvals at once count as two', async () => {
    const { id } = await given()
    const { body } = await ask(id)
    const both = await Promise.all([approve(body['id'], 'first'), approve(body['id'], 'second')])
    // Whoever lost the race is told so, and may try again.
    if (both.some(({ status }) => status === 409)) {
      const lost = both[0]?.status === 409 ? 'first' : 'second'
      expect(await approve(body['id'], lost)).toMatchObject({ status: 200 })
    }
    const list = await releases.api.call('GET', `/deployments/${id}/overrides`)
    expect(list.body.items).toMatchObject([{ inForce: true }])
  })
})

test('one person by two keys is one of them, and none of them for what they asked for', async () => {
  const now = releases.ctx.clock.now()
  const person = { id: newId(now), name: 'Dora', email: null, state: 'active' as const }
  await handle.db
    .insertInto('person')
    .values({ ...person, created_by: 'key:test', created_at: now })
    .execute()
  const givenKey = async () => {
    const wanted = { name: 'of Dora', role: 'operator', ownerId: person.id }
    return String((await releases.call('POST', '/api-keys', wanted))['secret'])
  }
  const [one, other] = [await givenKey(), await givenKey()]
  const act = async (key: string, overrideId: unknown) => {
    const path = `/overrides/${String(overrideId)}/actions`
    return await releases.api.call('POST', path, { action: 'approve' }, { key })
  }
  const { id } = await given()
  const { body } = await ask(id)
  expect((await act(one, body['id'])).status).toBe(200)
  expect((await act(other, body['id'])).status).toBe(409)
  expect(await approve(body['id'], 'first')).toMatchObject({ body: { inForce: true } })
  const wanted = { reason: 'The worm spreads', until: inHours(48) }
  const { id: own } = await given()
  const path = `/deployments/${own}/overrides`
  const asked = await releases.api.call('POST', path, wanted, { key: one })
  expect((await act(other, asked.body['id'])).status).toBe(409)
})

test('what is signed within the second of an earlier answer is seen by the device all the same', async () => {
  const { device, id } = await given()
  const { body } = await ask(id)
  await approve(body['id'], 'first')
  await device.poll()
  // Two hellos that cross: both say what the device held before either answer.
  const have = heldVersions(device.state)
  const [one, two] = ['1'.repeat(32), '2'.repeat(32)] as const
  const before = await device.ask(one, have)
  await approve(body['id'], 'second')
  const after = await device.ask(two, have)
  if (!before || !after) throw new Error('The server did not answer')
  const first = verifyBundle(device.state, before, device.facts, { nonce: one })
  expect(first.policy?.override).toBeUndefined()
  const second = verifyBundle(first.state, after, device.facts, { nonce: two })
  expect(second.policy?.override?.reason).toBe('The worm spreads')
})

test("what the device does because of it is an operator's move in the history, not its owner's", async () => {
  const { device, id } = await given()
  await report(world, device.id, id, 'opted_out')
  // Honest: an owner who opted out moves it only by a choice.
  const { body } = await ask(id)
  await approve(body['id'], 'first')
  await approve(body['id'], 'second')
  await report(world, device.id, id, 'accepted')
  await report(world, device.id, id, 'verified')
  expect((await historyOf(world, id)).slice(-4)).toEqual([
    'opted_out owner',
    'accepted operator',
    'downloading device',
    'verified device',
  ])
})
