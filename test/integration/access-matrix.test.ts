import type { AddressInfo } from 'node:net'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { grantsOf } from '../../server/access/grants.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { type Grant, permissionsNeeded } from '../../server/http/access.ts'
import { createApp, routes } from '../../server/http/app.ts'
import type { Route } from '../../server/http/route.ts'
import { createMetrics } from '../../server/metrics.ts'
import { builtInRoles, permissions } from '../../server/protocol/permissions.ts'
import {
  type Answer,
  answersOf,
  judgeDoor,
  judgeReach,
  nothing,
  type Send,
  sender,
  type Sides,
} from '../support/access-judge.ts'
import { nameOf, variantsOf } from '../support/access-requests.ts'
import { type AccessWorld, createAccessWorld, must } from '../support/access-world.ts'
import { createTestDatabase } from '../support/database.ts'

/*
 * Every route × every role × in scope, out of scope and without credentials. Nothing here names a route that keeps to the rules:
 * they are all asked. What they take is in test/support/access-requests.ts.
 */
interface Caller {
  name: string
  key: string
  grants: readonly Grant[]
}

let handle: DatabaseHandle
let world: AccessWorld
let send: Send
let sides: Sides
let admin: string
/** An administrator of the inside alone. */
let limited: Caller
const callers: Caller[] = []
const before = new Map<Route, Answer[]>()
const ofDevices = routes.filter(({ scope }) => scope === 'devices')
const reading = ofDevices.filter(({ method }) => method === 'get')

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createAccessWorld(handle)
  send = sender(world.api.url)
  admin = world.api.keys.admin.secret
  const inside = { ...(await world.givenSide('alpha')), ...world.shared }
  const groupIds = [inside['groupId'] ?? '']
  await must(world.api, 'POST', '/roles', {
    name: 'own',
    permissions: permissions.filter((_name, index) => index % 2 === 0),
    groupIds,
  })
  for (const role of [...builtInRoles, 'own']) callers.push(await givenCaller(role, []))
  for (const role of builtInRoles) callers.push(await givenCaller(role, groupIds))
  limited = callers.find(({ name }) => name === 'admin of the inside') ?? callers[0] ?? limited
  for (const route of reading) {
    before.set(route, await answersOf(send, route, { key: limited.key, inside }))
  }
  const outside = { ...(await world.givenSide('bravo')), ...world.shared }
  const marks = [...new Set(Object.entries(outside).map(([, value]) => value)), 'bravo'].filter(
    (mark) => !Object.values(inside).includes(mark),
  )
  sides = { inside, outside, nowhere: { ...nothing(inside), ...world.shared }, marks }
}, 120_000)
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

async function givenCaller(role: string, groupIds: string[]): Promise<Caller> {
  const where = groupIds.length === 0 ? 'the fleet' : 'the inside'
  const body = { name: `${role} of ${where}`, role, groupIds }
  const made = await must(world.api, 'POST', '/api-keys', body)
  const grants = await grantsOf(handle.db, `key:${String(made['id'])}`)
  return { name: body.name, key: String(made['secret']), grants }
}

test('every route is known to the matrix', () => {
  for (const route of ofDevices) {
    expect(variantsOf(route, sides.inside).length, nameOf(route)).toBeGreaterThan(0)
  }
})

test('who may, gets in; who may not, does not: every route, every role, limited or not', async () => {
  const findings: string[] = []
  await Promise.all(
    callers.map(async (caller) => {
      for (const route of routes) {
        findings.push(...(await judgeDoor(send, route, caller, sides.nowhere)))
      }
    }),
  )
  expect(findings).toEqual([])
}, 120_000)

test('without credentials nobody gets in, by any route', async () => {
  // Each comes a minute after the one before, or who guesses would be slowed down.
  let minutes = 0
  const clock = { now: () => new Date(world.api.ctx.clock.now().getTime() + ++minutes * 60_000) }
  const server = createApp({ ...world.api.ctx, clock, metrics: createMetrics() }).listen(
    0,
    '127.0.0.1',
  )
  await new Promise<void>((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  const findings: string[] = []
  const nobody = { name: 'nobody', key: '', grants: [] }
  for (const route of routes) {
    const ask = sender(`http://127.0.0.1:${port}`)
    findings.push(...(await judgeDoor(ask, route, nobody, sides.nowhere)))
  }
  server.closeAllConnections()
  server.close()
  expect(findings).toEqual([])
}, 60_000)

test('the outside is there, for whoever is not limited', async () => {
  for (const route of reading) {
    const [answer] = await answersOf(send, route, { key: admin, inside: sides.outside })
    expect(answer?.status, `${nameOf(route)} ${answer?.text}`).toBe(200)
  }
  const lists = reading.filter(({ path }) => !path.includes(':'))
  expect(lists.length).toBeGreaterThan(7)
  for (const route of lists) {
    const [answer] = await answersOf(send, route, { key: admin, inside: sides.inside })
    const told = sides.marks.filter((mark) => answer?.text.includes(mark))
    const [own] = await answersOf(send, route, { key: limited.key, inside: sides.inside })
    // Figures name nobody: whoever sees more counts more.
    const isMore = route.path === '/devices/summary' && answer?.text !== own?.text
    expect(told.length > 0 || isMore, nameOf(route)).toBe(true)
  }
}, 60_000)

test('whoever is limited sees, counts and changes nothing outside, by any route', async () => {
  const findings: string[] = []
  // Of every role, and of one that is limited by itself.
  const all = callers.filter(({ name }) => name.endsWith('of the inside') || name.startsWith('own'))
  expect(all).toHaveLength(builtInRoles.length + 1)
  await Promise.all(
    all.map(async ({ name, key }) => {
      for (const route of ofDevices) {
        const was = key === limited.key ? before.get(route) : undefined
        const found = await judgeReach(send, route, { key, sides, before: was })
        findings.push(...found.map((finding) => `${name}: ${finding}`))
      }
    }),
  )
  expect(findings).toEqual([])
}, 180_000)

test('what everybody may know says nothing of any device', async () => {
  const shared = routes.filter(({ scope, method, path }) => {
    return scope === 'shared' && method === 'get' && !path.includes(':')
  })
  for (const route of shared) {
    const { text } = await send({ method: 'GET', path: route.path }, limited.key)
    expect(
      sides.marks.filter((mark) => text.includes(mark)),
      nameOf(route),
    ).toEqual([])
  }
})

test('figures of the whole fleet are not for whoever is limited to a part', async () => {
  const status = async (key: string) => {
    const headers = { Authorization: `Bearer ${key}` }
    return (await fetch(`${world.api.url}/metrics`, { headers })).status
  }
  expect(await status(limited.key)).toBe(403)
  expect(await status(admin)).toBe(200)
})

test('a check of the permission that is left out is noticed, at every route', async () => {
  const unnoticed: string[] = []
  const guarded = routes.filter(({ permission }) =>
    permissionsNeeded(permission).some((name) => !name.startsWith('self:')),
  )
  const stranger = callers.find(({ name }) => name === 'own of the fleet')
  const nobody = { name: 'somebody without a right', key: stranger?.key ?? '', grants: [] }
  await must(world.api, 'PUT', `/roles/own`, { permissions: ['self:read'] })
  for (const route of guarded) {
    world.api.ctx.liftedForTest = { route: nameOf(route), check: 'permission' }
    const findings = await judgeDoor(send, route, nobody, sides.nowhere)
    if (findings.length === 0) unnoticed.push(nameOf(route))
  }
  delete world.api.ctx.liftedForTest
  expect(unnoticed).toEqual([])
}, 120_000)

test('reach that is left out is noticed, at every route that keeps to it', async () => {
  const unnoticed: string[] = []
  const members = await handle.db.selectFrom('device_group_member').selectAll().execute()
  // Approvals ask for a reach of their own too, that of what is approved.
  const once = ofDevices.filter(({ path }) => !path.startsWith('/approvals'))
  for (const route of takenLast(once)) {
    world.api.ctx.liftedForTest = { route: nameOf(route), check: 'reach' }
    const findings = await judgeReach(send, route, {
      key: limited.key,
      sides,
      before: before.get(route),
    })
    if (findings.length === 0) unnoticed.push(nameOf(route))
    await handle.db.deleteFrom('device_group_member').execute()
    await handle.db.insertInto('device_group_member').values(members).execute()
  }
  delete world.api.ctx.liftedForTest
  expect(unnoticed).toEqual([])
}, 120_000)

test('what lies inside is within reach, by every route', async () => {
  const refused: string[] = []
  for (const route of takenLast(ofDevices)) {
    for (const { ask, names } of variantsOf(route, sides.inside)) {
      // Who is limited asks no rollout to ask for groups: its answer could tell of others.
      if (nameOf(route) === 'POST /rollouts' && names.includes('name')) continue
      const asked = ask((name) => sides.inside[name] ?? '')
      const { status, text } = await send(asked, limited.key)
      const isFine = ![401, 403, 404, 429].includes(status) && status < 500
      if (!isFine) refused.push(`${nameOf(route)}: ${status} ${text.slice(0, 200)}`)
    }
  }
  expect(refused).toEqual([])
}, 60_000)

/** What takes something away comes after what needs it, and at last what takes the device out of the group. */
function takenLast(some: readonly Route[]): Route[] {
  const takes = ({ method, path }: Route) =>
    Number(method === 'delete') + Number(path === '/groups/:groupId/devices/:deviceId')
  return some.toSorted((one, other) => takes(one) - takes(other))
}
