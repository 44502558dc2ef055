import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

import express from 'express'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { deploymentRoutes } from '../../server/deployments/routes.ts'
import { mountRoutes } from '../../server/http/mount.ts'
import { renderProblem } from '../../server/http/problem.ts'
import type { BuiltInRole } from '../../server/protocol/permissions.ts'
import { explainRoutes } from '../../server/rollouts/explain-routes.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { penaltyRoutes } from '../../server/rollouts/penalty-routes.ts'
import { rolloutRoutes } from '../../server/rollouts/routes.ts'
import { actorWith } from '../support/actor.ts'
import { createTestDatabase } from '../support/database.ts'
import { choose, deploymentIdOf, report } from '../support/rollout-messages.ts'
import {
  givenDevices,
  givenGroup,
  givenRelease,
  installedBuild,
  rolloutWorld,
  type RolloutWorld,
} from '../support/rollout-world.ts'

const routes = [...rolloutRoutes, ...explainRoutes, ...penaltyRoutes, ...deploymentRoutes]
let handle: DatabaseHandle
let world: RolloutWorld
let server: Server
let role: BuiltInRole = 'operator'
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
  const app = express()
  app.use((_req, res, next) => {
    res.locals['actor'] = actorWith(role, { id: 'key:1', name: 'Ada', requestId: 'r1' })
    next()
  })
  mountRoutes(app, world.ctx, { prefix: '', routes })
  app.use(renderProblem)
  server = createServer(app)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  server.close()
  server.closeAllConnections()
  await handle[Symbol.asyncDispose]()
})

// oxlint-disable-next-line typescript/no-explicit-any -- what a script would see
type Json = any

async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
) {
  const { port } = server.address() as AddressInfo
  const response = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    headers: { 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { status: response.status, body: (await response.json()) as Json }
}

async function definition(devices = 4) {
  const groupId = await givenGroup(world)
  const ids = await givenDevices(world, groupId, devices)
  const release = await givenRelease(world, { build: build++ })
  const body = { name: 'Spring', releaseId: release.id, groupId, phases: [{ percent: 100 }] }
  return { body, ids, release, groupId }
}
let build = 50

test('a rollout over REST, from the draft to the deployments', async () => {
  const { body, ids } = await definition()
  const made = await call('POST', '/rollouts', body)
  expect(made).toMatchObject({
    status: 201,
    body: {
      name: 'Spring',
      state: 'draft',
      phase: 0,
      waitsFor: null,
      createdBy: 'key:1',
      phases: [
        { no: 1, percent: 100, hold: false, success: { percent: 95, minExecuted: 1 }, counts: {} },
      ],
    },
  })
  const path = `/rollouts/${made.body.id}`
  expect(await call('POST', `${path}/actions`, { action: 'resume' })).toMatchObject({
    status: 409,
    body: { code: 'illegal-transition' },
  })
  expect((await call('POST', `${path}/actions`, { action: 'start' })).body).toMatchObject({
    state: 'running',
    phase: 1,
    waitsFor: 'devices',
  })
  await meetDevices(world.ctx, ids)
  const [device = ''] = ids
  const deploymentId = await deploymentIdOf(world, made.body.id, device)
  await report(world, device, deploymentId, 'failed_final', { code: 'no-space', detail: 'full' })
  expect((await call('GET', path)).body).toMatchObject({
    counts: { queued: 3, failed_final: 1 },
    executed: 1,
    succeeded: 0,
    failed: 1,
  })
  const seen: string[] = []
  let cursor = ''
  do {
    const page = await call('GET', `${path}/deployments?limit=3${cursor && `&cursor=${cursor}`}`)
    seen.push(...page.body.items.map((item: Json) => item.deviceId))
    cursor = page.body.nextCursor
  } while (cursor)
  expect(seen).toEqual(ids.toSorted())
  const failed = await call('GET', `${path}/deployments?state=failed_final`)
  expect(failed.body.items).toMatchObject([{ id: deploymentId, code: 'no-space', detail: 'full' }])
  expect((await call('GET', `/deployments/${deploymentId}`)).body).toMatchObject({
    deviceId: device,
    state: 'failed_final',
    attempts: 0,
    history: [
      { from: null, to: 'queued', by: 'engine' },
      {
        from: 'queued',
        to: 'failed_final',
        by: 'device',
        code: 'no-space',
        reportedAt: expect.any(String),
      },
    ],
  })
  const listed = await call('GET', `/rollouts?state=running&groupId=${body.groupId}`)
  expect(listed.body.items.map((item: Json) => item.id)).toEqual([made.body.id])
})

test('the query of a rollout is kept in one form and shown', async () => {
  const { body } = await definition()
  const query = ' model="gate-2"  and installed.main.build<50'
  const made = await call('POST', '/rollouts', { ...body, query })
  expect(made.body.query).toBe('model = "gate-2" and installed.main.build < 50')
  const refused = await call('POST', '/rollouts/preview', { ...body, query: 'model =' })
  expect(refused).toMatchObject({ status: 400, body: { issues: [{ at: 'query' }] } })
  const found = await call('POST', '/rollouts/preview', { ...body, query: 'model = "other"' })
  expect(found.body).toMatchObject({ eligible: 0, excluded: { 'not-targeted': 4 } })
})

test('why, over REST: one rollout and one device, and all rollouts of a device', async () => {
  const { body, ids } = await definition(1)
  const [device = ''] = ids
  const made = await call('POST', '/rollouts', body)
  const one = await call('GET', `/rollouts/${made.body.id}/devices/${device}/explanation`)
  expect(one).toMatchObject({
    status: 200,
    body: { code: 'not-running', rolloutName: 'Spring', facts: { otherwise: 'admitted' } },
  })
  const all = await call('GET', `/devices/${device}/explanations`)
  expect(all.body).toEqual({ items: [one.body], nextCursor: null })
  const none = '0192f3c4-7d1e-7c3a-9b5e-2f60a1c4d7e8'
  expect((await call('GET', `/devices/${none}/explanations`)).status).toBe(404)
  expect((await call('GET', `/rollouts/${none}/devices/${device}/explanation`)).status).toBe(404)
  const digits = Buffer.from('12').toString('base64url')
  expect((await call('GET', `/devices/${device}/explanations?cursor=${digits}`)).status).toBe(400)
})

test('a penalty over REST: shown, and lifted by a person with a reason', async () => {
  const { ids } = await definition(1)
  const path = `/devices/${ids[0]}/penalty`
  const none = { until: null, why: null, rolledBackFrom: [] }
  expect((await call('GET', path)).body).toEqual(none)
  expect((await call('POST', `${path}/actions`, { action: 'lift' })).status).toBe(400)
  const lifted = await call('POST', `${path}/actions`, { action: 'lift', reason: 'cable' })
  expect(lifted).toEqual({ status: 200, body: none })
})

test('the ledger of an owner', async () => {
  const { ids } = await definition(1)
  const [device = ''] = ids
  await choose(world, device, { choice: 'optOut' })
  await choose(world, device, { choice: 'optIn' })
  const first = await call('GET', `/devices/${device}/choices?limit=1`)
  expect(first.body.items).toMatchObject([
    { choice: 'optOut', outcome: 'applied', deploymentId: null },
  ])
  const second = await call(
    'GET',
    `/devices/${device}/choices?limit=1&cursor=${first.body.nextCursor}`,
  )
  expect(second.body).toMatchObject({ items: [{ choice: 'optIn' }], nextCursor: null })
})

test('the same Idempotency-Key makes one rollout, with one seed', async () => {
  const { body } = await definition()
  const key = { 'idempotency-key': crypto.randomUUID() }
  const [a, b] = [
    await call('POST', '/rollouts', body, key),
    await call('POST', '/rollouts', body, key),
  ]
  expect(b).toEqual(a)
  const other = await call('POST', '/rollouts', { ...body, name: 'Other' }, key)
  expect(other).toMatchObject({ status: 422, body: { code: 'idempotency-mismatch' } })
})

test('a preview writes nothing, says why not, and is exact once there is a seed', async () => {
  const { body, groupId } = await definition(10)
  await givenDevices(world, groupId, 1, { state: 'disabled' })
  await givenDevices(world, groupId, 2, { installed: [installedBuild(9_999)] })
  await givenDevices(world, groupId, 1, { model: null })
  await givenDevices(world, groupId, 1, { hardware_ids: ['rev-z'] })
  const phases = [{ percent: 20 }, { percent: 100 }]
  const expected = await call('POST', '/rollouts/preview', { ...body, phases })
  expect(expected.body).toMatchObject({
    devices: 15,
    sampled: null,
    eligible: 10,
    excluded: { 'device-blocked': 1, downgrade: 2, 'never-seen': 1, incompatible: 1 },
    phases: [
      { no: 1, percent: 20, devices: 2, says: '0 failures of 1 says below 95 % at 95 %' },
      { no: 2, percent: 100, devices: 8 },
    ],
    exact: false,
    // Nobody was ever heard of.
    estimate: { reachable: 0, halfDoneHours: null, stopsAt: 1 },
  })
  expect(expected.body.stops).toContainEqual({ rule: 'built-in', executed: 100, failures: 9 })
  const made = await call('POST', '/rollouts', { ...body, phases })
  const exact = await call('POST', '/rollouts/preview', { rolloutId: made.body.id })
  expect(exact.body).toMatchObject({ exact: true, eligible: 10 })
  expect(exact.body.phases.reduce((sum: number, phase: Json) => sum + phase.devices, 0)).toBe(10)
})

test.each([
  ['a query that is none', { query: 'model = gate-2' }, 'column 9'],
  ['an abort rule without a share', { abort: [{ kinds: ['lost'] }] }, 'percent'],
  ['eleven approvals', { approvals: 11 }, 'approvals'],
  ['a share and a count', { phases: [{ percent: 5, count: 3 }] }, 'exactly one of'],
  ['a phase for nobody said', { phases: [{}] }, 'exactly one of'],
  ['a count of none', { phases: [{ count: 0 }] }, 'count'],
  ['a cohort that is no id', { phases: [{ cohort: 'x' }] }, 'cohort'],
  ['an empty rate', { phases: [{ percent: 5, rate: {} }] }, 'rate'],
  ['a rate of nothing', { phases: [{ percent: 5, rate: { perMinute: 0 } }] }, 'rate'],
  [
    'a rate that shrinks',
    {
      phases: [{ percent: 5, rate: { basePerMinute: 9, factor: 2, step: 1, maxPerMinute: 5 } }],
    },
    'must not be below',
  ],
  ['a time in words', { phases: [{ count: 5, seenWithin: 'a week' }] }, 'duration'],
  ['a priority out of range', { priority: 1001 }, 'priority'],
  ['no room at all', { maxInFlight: 0 }, 'maxInFlight'],
  ['soaking for a month', { phases: [{ percent: 5, success: { soak: 'P1M' } }] }, 'a duration'],
  ['falling percents', { phases: [{ percent: 50 }, { percent: 20 }] }, 'must rise'],
  ['equal percents', { phases: [{ percent: 50 }, { percent: 50 }] }, 'must rise'],
  ['more than everybody', { phases: [{ percent: 101 }] }, 'percent'],
  ['nobody', { phases: [{ percent: 0 }] }, 'above 0'],
  ['no phase', { phases: [] }, 'phases'],
  ['ten-thousandths', { phases: [{ percent: 0.0001 }] }, 'three decimals'],
  ['a word it does not know', { colour: 'red' }, 'colour'],
  ['a name with a control character', { name: 'a\u001bb' }, 'control characters'],
])('%s is refused with a reason', async (_what, more, reason) => {
  const { body } = await definition(0)
  const refused = await call('POST', '/rollouts', { ...body, ...more })
  expect(refused).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
  expect(JSON.stringify(refused.body)).toContain(reason)
})

test('what is not there is not found; what is malformed is refused', async () => {
  const { body } = await definition(0)
  const none = '0192f3c4-7d1e-7c3a-9b5e-2f60a1c4d7e8'
  for (const path of [
    `/rollouts/${none}`,
    `/rollouts/${none}/deployments`,
    `/deployments/${none}`,
    `/devices/${none}/choices`,
  ]) {
    expect((await call('GET', path)).status, path).toBe(404)
  }
  expect((await call('POST', '/rollouts', { ...body, releaseId: none })).status).toBe(404)
  expect((await call('POST', '/rollouts', { ...body, groupId: none })).status).toBe(404)
  expect((await call('POST', '/rollouts/preview', { ...body, groupId: none })).status).toBe(404)
  expect((await call('POST', '/rollouts/preview', { rolloutId: none })).status).toBe(404)
  const digits = Buffer.from('12').toString('base64url')
  for (const path of [
    '/rollouts/x',
    `/rollouts?cursor=${digits}`,
    '/rollouts?limit=0',
    '/rollouts?colour=red',
    `/rollouts/${none}/deployments?cursor=${digits}`,
  ]) {
    expect((await call('GET', path)).status, path).toBe(400)
  }
})

test('a viewer looks and does not touch', async () => {
  const { body } = await definition(0)
  role = 'viewer'
  try {
    expect((await call('POST', '/rollouts', body)).status).toBe(403)
    expect((await call('GET', '/rollouts')).status).toBe(200)
    expect((await call('POST', '/rollouts/preview', body)).status).toBe(200)
  } finally {
    role = 'operator'
  }
})
