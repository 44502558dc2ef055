import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { derivedRolloutRoutes } from '../../server/rollouts/derived-routes.ts'
import { createLookLimit, driveRollouts } from '../../server/rollouts/drive.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { rolloutRoutes } from '../../server/rollouts/routes.ts'
import { createTestDatabase } from '../support/database.ts'
import { serveRoutes } from '../support/rollout-api.ts'
import { newBuild } from '../support/rollout-given.ts'
import { givenRules, sayings } from '../support/rollout-rules.ts'
import {
  givenDevices,
  givenGroup,
  givenRelease,
  rolloutWorld,
  type RolloutWorld,
} from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
let api: Awaited<ReturnType<typeof serveRoutes>>
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
  api = await serveRoutes(world, [...rolloutRoutes, ...derivedRolloutRoutes])
})
afterAll(async () => {
  api[Symbol.dispose]()
  await handle[Symbol.asyncDispose]()
})

test('rules and gates are shown as they hold, and what a phase waits for', async () => {
  const groupId = await givenGroup(world)
  const ids = await givenDevices(world, groupId, 20)
  const release = await givenRelease(world, { build: newBuild() })
  const { status, body } = await api.call('POST', '/rollouts', {
    name: 'Spring',
    releaseId: release.id,
    groupId,
    phases: [
      { percent: 99.99, success: { soak: 'PT90M', maxPutOff: 20, within: 'P7D' } },
      { percent: 100 },
    ],
    abort: [{ percent: 2.5, action: 'cancel' }],
  })
  expect(status).toBe(201)
  expect(body).toMatchObject({
    kind: 'update',
    parentId: null,
    abort: {
      defaults: true,
      rules: [
        {
          kinds: ['failed_final', 'rolled_back', 'lost'],
          minExecuted: 20,
          percent: 2.5,
          scope: 'rollout',
          action: 'cancel',
        },
      ],
    },
  })
  expect(body.phases[0]).toMatchObject({
    success: { soak: 'PT1H30M', maxPutOff: 20, within: 'P7D' },
    soakUntil: null,
    heldAt: null,
  })
  await api.call('POST', `/rollouts/${body.id}/actions`, { action: 'start' })
  await meetDevices(world.ctx, ids)
  await sayings(world).succeed({ id: body.id, release }, ids.slice(0, 1))
  await driveRollouts(world.ctx, createLookLimit())
  const shown = await api.call('GET', `/rollouts/${body.id}`)
  expect(shown.body.waitsFor).toBe('soak')
  const until = new Date(world.clock.now().getTime() + 90 * 60_000).toISOString()
  expect(shown.body.phases[0].soakUntil).toBe(until)
})

test('trying again and going back: drafts, refusals that say what to do, nothing for a viewer', async () => {
  const one = await givenRules(world, 3, { defaults: false, rules: [] })
  const path = `/rollouts/${one.id}`
  expect(await api.call('POST', `${path}/rollback`, {})).toMatchObject({
    status: 409,
    body: { code: 'illegal-transition', detail: expect.stringContaining('pause or cancel it') },
  })
  await sayings(world).fail(one, one.ids.slice(0, 1))
  await sayings(world).succeed(one, one.ids.slice(1))
  await driveRollouts(world.ctx, createLookLimit())
  expect(await api.call('POST', `${path}/retry`, { name: 'Again' })).toMatchObject({
    status: 201,
    body: { name: 'Again', kind: 'retry', parentId: one.id, state: 'draft' },
  })
  expect(await api.call('POST', `${path}/retry`, {})).toMatchObject({
    status: 409,
    body: { code: 'conflict' },
  })
  // What these ran before is no release of this server.
  expect(await api.call('GET', `${path}/rollback`)).toMatchObject({
    status: 200,
    body: { devices: 2, back: [], cannot: [{ reason: 'no-release', devices: 2 }] },
  })
  const listed = await api.call('GET', `${path}/rollback/devices?limit=1`)
  expect(listed.body.items).toHaveLength(1)
  const next = await api.call('GET', `${path}/rollback/devices?cursor=${listed.body.nextCursor}`)
  expect(next.body.items).toMatchObject([{ reason: 'no-release', releaseId: null }])
  expect(await api.call('POST', `${path}/rollback`, {})).toMatchObject({
    status: 409,
    body: { code: 'not-ready' },
  })
  for (const what of ['rollback', 'rollback/devices'])
    expect((await api.call('GET', `/rollouts/${newId(new Date())}/${what}`)).status).toBe(404)
  api.caller.role = 'viewer'
  expect((await api.call('POST', `${path}/retry`, {})).status).toBe(403)
  expect((await api.call('POST', `${path}/rollback`, {})).status).toBe(403)
  expect((await api.call('GET', `${path}/rollback`)).status).toBe(200)
  api.caller.role = 'operator'
})
