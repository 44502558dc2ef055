import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRollout,
  type RolloutWorld,
} from '../support/rollout-world.ts'
import { answersAlike, type Call } from '../support/scoped.ts'
import { type TwoGroups, twoGroups } from '../support/two-groups.ts'

let handle: DatabaseHandle
let world: RolloutWorld
let given: TwoGroups
let ada: Call
let fleet: Call
beforeAll(async () => {
  handle = await createTestDatabase()
  given = await twoGroups(handle)
  ;({ world, ada, fleet } = given)
})
afterAll(async () => {
  given.server[Symbol.dispose]()
  await handle[Symbol.asyncDispose]()
})

test('deployments, their histories and overrides are those of devices in the group', async () => {
  const ids = { outside: given.deployments.theirs, missing: given.missing() }
  const until = new Date(world.clock.now().getTime() + 86_400_000).toISOString()
  for (const [method, path, body] of [
    ['GET', ''],
    ['GET', '/overrides'],
    ['POST', '/overrides', { reason: 'x', until }],
  ] as const) {
    const answer = await answersAlike(ada, method, (id) => `/deployments/${id}${path}`, {
      ...ids,
      body,
    })
    expect(answer.status).toBe(404)
  }
  expect((await ada('GET', `/deployments/${given.deployments.mine}`)).status).toBe(200)
  expect((await ada('GET', `/deployments/${given.deployments.mine}/overrides`)).status).toBe(200)
  const override = async (deployment_id: string) => {
    const id = newId(world.clock.now())
    const by = { created_by: 'key:2', author_voice: 'key:2', created_at: world.clock.now() }
    const row = { id, deployment_id, reason: 'x', until: new Date(until), ...by }
    await world.db.insertInto('update_override').values(row).execute()
    return id
  }
  const act_ = (id: string) => `/overrides/${id}/actions`
  const body = { action: 'revoke' }
  const outside = await override(given.deployments.theirs)
  const answer = await answersAlike(ada, 'POST', act_, { ...ids, outside, body })
  expect(answer.status).toBe(404)
  const own = await ada('POST', act_(await override(given.deployments.mine)), body)
  expect(own.status).toBe(200)
})

test('what is told of a device that left the group is told no more, in the list and in the export', async () => {
  const groupId = await givenGroup(world)
  const [left = '', stays = ''] = await givenDevices(world, groupId, 2)
  const id = await givenRollout(world, groupId, given.release.id)
  await act(world, id, 'start')
  await meetDevices(world.ctx, [left, stays])
  const path = `/rollouts/${id}`
  const bea = given.server.as([[groupId]])
  expect((await bea('GET', `${path}/deployments`)).body.items).toHaveLength(2)
  await world.db.deleteFrom('device_group_member').where('device_id', '=', left).execute()
  const told = async (call: Call) => [
    (await call('GET', `${path}/deployments`)).text,
    (await call('GET', `${path}/results`)).text,
    (await call('GET', `${path}/results?format=csv`)).text,
  ]
  for (const text of await told(bea)) {
    expect(text).toContain(stays)
    expect(text).not.toContain(left)
  }
  for (const text of await told(fleet)) expect(text).toContain(left)
})

test('a device outside is not found by what was given to it, its choices, its penalty, its settings or its window', async () => {
  const ids = { outside: given.devices.theirs[0] ?? '', missing: given.missing() }
  const window = { cron: '0 1 * * *', duration: 'PT4H', zone: 'UTC' }
  for (const [method, path, body, own] of [
    ['GET', '/deployments', undefined, 200],
    ['GET', '/choices', undefined, 200],
    ['GET', '/explanations', undefined, 200],
    ['GET', '/penalty', undefined, 200],
    ['POST', '/penalty/actions', { action: 'lift', reason: 'x' }, 200],
    ['GET', '/settings', undefined, 200],
    ['PUT', '/settings', { settings: {} }, 409],
    ['PUT', '/window', window, 200],
    ['DELETE', '/window', undefined, 204],
  ] as const) {
    const at = (id: string) => `/devices/${id}${path}`
    const answer = await answersAlike(ada, method, at, { ...ids, body })
    expect(answer.status, `${method} ${path}`).toBe(404)
    expect((await ada(method, at(given.devices.mine[0] ?? ''), body)).status, path).toBe(own)
  }
})

test('of a device in both groups she learns what it was given, and not of which rollout of others', async () => {
  const past = async (call: Call) =>
    (await call('GET', `/devices/${given.both}/deployments`)).body.items.map(
      (one: { rolloutId: string; rolloutName: string }) => [one.rolloutId, one.rolloutName],
    )
  // The rollout to the others came first: the device has its update, and hers waits.
  await world.db
    .updateTable('rollout')
    .set({ name: 'Secret' })
    .where('id', '=', given.rollouts.theirs)
    .execute()
  await meetDevices(world.ctx, [given.both])
  expect(await past(fleet)).toContainEqual([given.rollouts.theirs, 'Secret'])
  expect(await past(ada)).toContainEqual([given.rollouts.theirs, null])
  const explained = async (call: Call) =>
    (await call('GET', `/devices/${given.both}/explanations?limit=200`)).body.items.map(
      (one: { rolloutId: string }) => one.rolloutId,
    )
  expect(await explained(ada)).toContain(given.rollouts.mine)
  expect(await explained(ada)).not.toContain(given.rollouts.theirs)
  expect(await explained(fleet)).toContain(given.rollouts.theirs)
})

test('windows are those of her group and of devices in it', async () => {
  const window = { cron: '0 1 * * *', duration: 'PT4H', zone: 'UTC' }
  for (const name of ['mine', 'theirs'] as const) {
    await fleet('PUT', `/groups/${given.groups[name]}/window`, window)
    await fleet('PUT', `/devices/${given.devices[name][0]}/window`, window)
  }
  const owners = async (call: Call, query = '') =>
    (await call('GET', `/windows${query}`)).body.items.flatMap(
      (one: { groupId: string | null; deviceId: string | null }) => one.groupId ?? one.deviceId,
    )
  expect(new Set(await owners(ada))).toEqual(new Set([given.devices.mine[0], given.groups.mine]))
  expect(await owners(fleet)).toHaveLength(4)
  expect(await owners(ada, `?groupId=${given.groups.theirs}`)).toEqual([])
  expect(await owners(ada, `?deviceId=${given.devices.theirs[0]}`)).toEqual([])
  const ids = { outside: given.groups.theirs, missing: given.missing() }
  const path = (id: string) => `/groups/${id}/window`
  expect((await answersAlike(ada, 'PUT', path, { ...ids, body: window })).status).toBe(404)
  expect((await answersAlike(ada, 'DELETE', path, ids)).status).toBe(404)
  expect((await ada('PUT', path(given.groups.mine), window)).status).toBe(200)
  expect((await ada('DELETE', path(given.groups.mine))).status).toBe(204)
})

test('events are those about her devices; what is about no device is not for her', async () => {
  const about = [given.devices.mine[0] ?? '', given.devices.theirs[0] ?? '', null]
  const rows = about.map((device_id) => ({
    id: newId(world.clock.now()),
    at: world.clock.now(),
    source: 'server' as const,
    kind: 'reach-test',
    severity: 'info' as const,
    device_id,
    facts: '{}',
  }))
  await world.db.insertInto('security_event').values(rows).execute()
  const found = async (call: Call, query = '') =>
    (await call('GET', `/events?kind=reach-test${query}`)).body.items.map(
      (one: { deviceId: string | null }) => one.deviceId,
    )
  expect(await found(ada)).toEqual([about[0]])
  expect(await found(ada, `&deviceId=${about[1]}`)).toEqual([])
  expect(await found(fleet)).toHaveLength(3)
})

test('what a device shall have set is no artifact for her; what releases are made of is', async () => {
  const listed = async (call: Call) =>
    (await call('GET', '/artifacts')).body.items.map((one: { id: string }) => one.id)
  const now = world.clock.now()
  const [id, sha256] = [newId(now), 'ab'.repeat(32)]
  const by = { created_by: 'key:2', created_at: now }
  const artifact = { id, sha256, size: 2, name: 'settings.json', ...by }
  await world.db.insertInto('artifact').values(artifact).execute()
  const [, other = ''] = given.devices.theirs
  const row = { id: newId(now), device_id: other, revision: 1, settings: '{}', sha256, size: 2 }
  await world.db
    .insertInto('device_settings')
    .values({ ...row, state: 'wanted', changed_at: now, ...by })
    .execute()
  const all = await listed(fleet)
  expect(all).toContain(id)
  expect(await listed(ada)).toEqual(all.filter((one: string) => one !== id))
  expect(all.length).toBeGreaterThan(1)
  const ids = { outside: id, missing: given.missing() }
  expect((await answersAlike(ada, 'GET', (one) => `/artifacts/${one}`, ids)).status).toBe(404)
  expect((await fleet('GET', `/artifacts/${id}`)).status).toBe(200)
})
