import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { deviceRoutes } from '../../server/devices/routes.ts'
import { groupRoutes } from '../../server/groups/routes.ts'
import { newId } from '../../server/ids.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { answersAlike, serveScoped } from '../support/scoped.ts'

/**
 * Two groups and a device in each, one in both, one in none. Ada is limited to the first group; what she may not see is for her as
 * if it were not there.
 */
let handle: DatabaseHandle
let api: TestApi
let server: Awaited<ReturnType<typeof serveScoped>>
const groups = { mine: '', theirs: '' }
const devices = { mine: '', theirs: '', both: '', none: '' }
const ada = async (method: string, path: string, body?: unknown) =>
  await server.as([[groups.mine]])(method, path, body)
const fleet = async (method: string, path: string, body?: unknown) =>
  await server.as('fleet')(method, path, body)

beforeAll(async () => {
  handle = await createTestDatabase()
  api = await startApi(handle)
  server = await serveScoped(api.ctx, [...deviceRoutes, ...groupRoutes])
  for (const name of ['mine', 'theirs'] as const) {
    groups[name] = (await fleet('POST', '/groups', { name: `group ${name}` })).body.id
  }
  for (const name of ['mine', 'theirs', 'both', 'none'] as const) {
    const made = await fleet('POST', '/devices', { serialNumber: `SN-${name}` })
    devices[name] = made.body.id
  }
  for (const [group, device] of [
    ['mine', 'mine'],
    ['theirs', 'theirs'],
    ['mine', 'both'],
    ['theirs', 'both'],
  ] as const) {
    await fleet('PUT', `/groups/${groups[group]}/devices/${devices[device]}`)
  }
})

afterAll(async () => {
  server[Symbol.dispose]()
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const missing = () => newId(api.ctx.clock.now())
const idsIn = (answer: { body: { items: { id: string }[] } }) =>
  answer.body.items.map(({ id }) => id).toSorted()
const found = async (call: typeof ada, query: string) =>
  idsIn(await call('GET', `/devices?${new URLSearchParams(query).toString()}`))

test('the list shows the devices of the group, by page too; without a limit all of them', async () => {
  expect(await found(ada, '')).toEqual([devices.mine, devices.both].toSorted())
  expect(await found(fleet, '')).toHaveLength(4)
  const first = await ada('GET', '/devices?limit=1')
  const second = await ada('GET', `/devices?limit=1&cursor=${first.body.nextCursor}`)
  expect([...idsIn(first), ...idsIn(second)].toSorted()).toEqual(
    [devices.mine, devices.both].toSorted(),
  )
  expect(second.body.nextCursor).toBeNull()
})

test('filters and questions tell nothing of another group', async () => {
  expect(await found(ada, `groupId=${groups.theirs}`)).toEqual([])
  expect(await found(ada, `groupId=${groups.mine}`)).toHaveLength(2)
  expect(await found(fleet, `groupId=${groups.theirs}`)).toHaveLength(2)
  expect(await found(ada, 'query=SN-theirs')).toEqual([])
  expect(await found(fleet, 'query=SN-theirs')).toHaveLength(1)
  for (const query of ['group = "group theirs"', 'group like "*theirs"', 'group = "no such"']) {
    expect(await found(ada, `query=${query}`), query).toEqual([])
    expect(await found(ada, `query=not (${query})`), query).toHaveLength(2)
  }
  expect(await found(ada, 'query=group = "group mine"')).toHaveLength(2)
  expect(await found(fleet, 'query=group = "group theirs"')).toHaveLength(2)
  expect(await found(ada, `query=id in ("${devices.theirs}", "${devices.mine}")`)).toEqual([
    devices.mine,
  ])
})

test('a device outside is not found, whatever is done with it; one inside shows only the groups that she knows', async () => {
  for (const outside of [devices.theirs, devices.none]) {
    const ids = { outside, missing: missing() }
    const got = await answersAlike(ada, 'GET', (id) => `/devices/${id}`, ids)
    expect(got.status).toBe(404)
    for (const action of ['disable', 'enable', 'revoke', 'retire']) {
      const body = { action, reason: 'lost' }
      await answersAlike(ada, 'POST', (id) => `/devices/${id}/actions`, { ...ids, body })
    }
    expect((await fleet('GET', `/devices/${outside}`)).body.state).toBe('registered')
  }
  expect((await ada('GET', `/devices/${devices.both}`)).body.groupIds).toEqual([groups.mine])
  expect((await fleet('GET', `/devices/${devices.both}`)).body.groupIds).toHaveLength(2)
  const reason = 'lost'
  const act = async (action: string) =>
    await ada('POST', `/devices/${devices.mine}/actions`, { action, reason })
  expect((await act('disable')).body.state).toBe('disabled')
  expect((await act('enable')).body.state).toBe('registered')
})

test('a device is registered into the group, and nowhere else', async () => {
  const none = await ada('POST', '/devices', { serialNumber: 'SN-new' })
  expect(none).toMatchObject({ status: 400, body: { issues: [{ at: 'groupId' }] } })
  const make = async (groupId: string) =>
    await ada('POST', '/devices', { serialNumber: 'SN-new', groupId })
  const [theirs, nobodys] = [await make(groups.theirs), await make(missing())]
  expect(theirs).toMatchObject({ status: 404, body: { detail: nobodys.body.detail } })
  const made = await make(groups.mine)
  expect(made).toMatchObject({ status: 201, body: { groupIds: [groups.mine] } })
  // A serial number is taken or not, that cannot be hidden; by which device, only inside.
  expect((await make(groups.mine)).body.deviceId).toBe(made.body.id)
  const taken = await ada('POST', '/devices', { serialNumber: 'SN-none', groupId: groups.mine })
  expect(taken.status).toBe(409)
  expect(taken.text).not.toContain(devices.none)
})

test('the list of groups and what it counts end at the reach', async () => {
  expect((await ada('GET', '/groups')).body.items).toMatchObject([{ id: groups.mine }])
  expect((await fleet('GET', '/groups')).body.items).toHaveLength(2)
  expect((await ada('GET', '/groups?name=group+theirs')).body.items).toEqual([])
  const ids = { outside: groups.theirs, missing: missing() }
  const body = { name: 'x' }
  const disable = { action: 'disable', reason: 'x' }
  for (const [method, path, sent] of [
    ['GET', '', undefined],
    ['PATCH', '', body],
    ['DELETE', '', undefined],
    ['POST', '/actions', disable],
    ['PUT', `/devices/${devices.mine}`, undefined],
    ['DELETE', `/devices/${devices.both}`, undefined],
  ] as const) {
    const answer = await answersAlike(ada, method, (id) => `/groups/${id}${path}`, {
      ...ids,
      body: sent,
    })
    expect(answer.status).toBe(404)
  }
  expect((await fleet('GET', `/groups/${groups.theirs}`)).body).toMatchObject({
    name: 'group theirs',
    deviceCount: 2,
    incident: null,
  })
})

test('who is limited to devices that are in two groups sees both, counts those, and changes neither', async () => {
  const bob = server.as([[groups.mine, groups.theirs]])
  expect(await found(bob, '')).toEqual([devices.both])
  const { items } = (await bob('GET', '/groups')).body
  expect(items.map((one: { deviceCount: number }) => one.deviceCount)).toEqual([1, 1])
  const name = await bob('PATCH', `/groups/${groups.mine}`, { name: 'x' })
  expect(name.status).toBe(403)
  const out = await bob('DELETE', `/groups/${groups.mine}/devices/${devices.both}`)
  expect(out.status).toBe(403)
})

test('nobody takes a device of others into his own group, nor by a query', async () => {
  const path = (id: string) => `/groups/${groups.mine}/devices/${id}`
  const ids = { outside: devices.theirs, missing: missing() }
  expect((await answersAlike(ada, 'PUT', path, ids)).status).toBe(404)
  expect((await answersAlike(ada, 'DELETE', path, ids)).status).toBe(404)
  expect((await ada('GET', `/devices/${devices.theirs}`)).status).toBe(404)
  const query = { query: 'name exists' }
  const dynamic = await fleet('POST', '/groups', { name: 'dynamic', query: 'name = "nobody"' })
  const cy = server.as([[dynamic.body.id]])
  expect((await cy('PATCH', `/groups/${dynamic.body.id}`, query)).status).toBe(403)
  expect((await cy('PATCH', `/groups/${dynamic.body.id}`, { name: 'named' })).status).toBe(200)
  expect((await fleet('PATCH', `/groups/${dynamic.body.id}`, query)).status).toBe(200)
})

test('between two groups of hers she moves a device, and one that she takes out is gone for her', async () => {
  const other = (await fleet('POST', '/groups', { name: 'other' })).body.id
  const dee = server.as([[groups.mine], [other]])
  const one = { serialNumber: 'SN-moves', groupId: groups.mine }
  const { id } = (await fleet('POST', '/devices', one)).body
  expect((await dee('PUT', `/groups/${other}/devices/${id}`)).status).toBe(204)
  expect((await dee('DELETE', `/groups/${groups.mine}/devices/${id}`)).status).toBe(204)
  expect((await dee('GET', `/devices/${id}`)).body.groupIds).toEqual([other])
  expect((await dee('DELETE', `/groups/${other}/devices/${id}`)).status).toBe(204)
  expect((await dee('GET', `/devices/${id}`)).status).toBe(404)
})
