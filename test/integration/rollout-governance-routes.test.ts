import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { rolloutRoutes } from '../../server/rollouts/routes.ts'
import { createTestDatabase } from '../support/database.ts'
import { serveRoutes } from '../support/rollout-api.ts'
import { newBuild } from '../support/rollout-given.ts'
import {
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
  api = await serveRoutes(world, [...rolloutRoutes])
})
afterAll(async () => {
  api[Symbol.dispose]()
  await handle[Symbol.asyncDispose]()
})

async function definition() {
  const groupId = await givenGroup(world)
  const { id: releaseId } = await givenRelease(world, { build: newBuild() })
  return { body: { name: 'Spring', releaseId, groupId, phases: [{ percent: 100 }] } }
}

test('approvals over REST: asked for, given to what was seen, shown', async () => {
  const { body } = await definition()
  const made = await api.call('POST', '/rollouts', { ...body, approvals: 1 })
  expect(made.body).toMatchObject({ approvals: { needed: 1, missing: 1, given: [] } })
  const path = `/rollouts/${made.body.id}`
  const shown = await api.call('GET', `${path}/definition`)
  expect(shown.body).toMatchObject({
    definitionHash: made.body.definitionHash,
    definition: { name: 'Spring', approvalsNeeded: 1, phases: [{ percent: 100 }] },
  })
  const { definitionHash } = shown.body
  const approval = { action: 'approve', definitionHash, reason: 'tried on the bench' }
  expect(await api.call('POST', `${path}/actions`, approval)).toMatchObject({
    status: 403,
    body: { code: 'not-allowed' },
  })
  expect((await api.call('POST', `${path}/actions`, { action: 'start' })).body).toMatchObject({
    code: 'not-ready',
    missing: 1,
  })
  api.caller.id = 'key:2'
  try {
    expect((await api.call('POST', `${path}/actions`, approval)).body).toMatchObject({
      state: 'approved',
      approvals: { needed: 1, missing: 0, given: [{ by: 'key:2', reason: 'tried on the bench' }] },
    })
  } finally {
    api.caller.id = 'key:1'
  }
  expect((await api.call('POST', `${path}/actions`, { action: 'start' })).body).toMatchObject({
    state: 'running',
  })
})

test('an edit over REST: of what was seen, and of nothing that is fixed', async () => {
  const { body } = await definition()
  const made = await api.call('POST', '/rollouts', body)
  const path = `/rollouts/${made.body.id}`
  const { definitionHash } = made.body
  const later = new Date(world.clock.now().getTime() + 60_000).toISOString()
  const phases = [{ percent: 20, hold: true }, { percent: 100 }]
  const edit = { name: 'Late spring', phases, startAt: later, definitionHash }
  const edited = await api.call('PATCH', path, edit)
  expect(edited.body).toMatchObject({
    name: 'Late spring',
    startAt: later,
    editedBy: 'key:1',
    phases: [
      { percent: 20, hold: true },
      { percent: 100, hold: false },
    ],
  })
  expect(edited.body.definitionHash).not.toBe(definitionHash)
  expect(await api.call('PATCH', path, { name: 'Summer', definitionHash })).toMatchObject({
    status: 409,
    body: { code: 'conflict', definitionHash: edited.body.definitionHash },
  })
  for (const fixed of [{ releaseId: body.releaseId }, { groupId: body.groupId }, { with: [] }]) {
    expect((await api.call('PATCH', path, fixed)).status).toBe(400)
  }
  expect((await api.call('PATCH', path, { startAt: null })).body).toMatchObject({
    startAt: null,
    name: 'Late spring',
  })
  api.caller.role = 'viewer'
  try {
    expect((await api.call('PATCH', path, { name: 'Mine' })).status).toBe(403)
  } finally {
    api.caller.role = 'operator'
  }
})
