import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { newBuild } from '../support/rollout-given.ts'
import {
  givenDevices,
  givenGroup,
  givenRelease,
  rolloutWorld,
  type RolloutWorld,
} from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
let api: TestApi
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
  api = await startApi(handle, { clock: world.clock })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

async function given(devices: number, kind: 'security' | 'feature' = 'security') {
  const groupId = await givenGroup(world)
  const ids = await givenDevices(world, groupId, devices)
  const { id: releaseId } = await givenRelease(world, { build: newBuild(), class: kind })
  return { ids, groupId, body: { name: 'Spring', releaseId, groupId } }
}
const create = async (body: object) =>
  await api.call('POST', '/rollouts', body, { headers: { 'idempotency-key': crypto.randomUUID() } })
const start = async (id: unknown) =>
  await api.call('POST', `/rollouts/${String(id)}/actions`, { action: 'start' })

test('bounds over REST: set, shown, in the audit trail, and in force', async () => {
  const { ids, body } = await given(10)
  const rate = { basePerMinute: 60, factor: 2, step: 10, maxPerMinute: 600 }
  const bounds = { priority: 700, maxInFlight: 3, bytesPerMinute: 1_000_000, passQueue: true }
  const made = await create({ ...body, ...bounds, phases: [{ percent: 100, rate }] })
  expect(made).toMatchObject({
    status: 201,
    body: {
      ...bounds,
      phases: [
        {
          percent: 100,
          count: null,
          cohort: null,
          rate: { ...rate, per: 'succeeded' },
          admitted: 0,
        },
      ],
    },
  })
  await start(made.body['id'])
  expect(await meetDevices(world.ctx, ids)).toHaveLength(3)
  const shown = await api.call('GET', `/rollouts/${String(made.body['id'])}`)
  expect(shown.body).toMatchObject({ counts: { queued: 3 }, phases: [{ admitted: 3 }] })
  const audit = await api.call('GET', '/audit?action=rollout.create&limit=1')
  expect(audit.body['items']).toMatchObject([{ facts: { priority: 700, max_in_flight: 3 } }])
})

test('without a word: priority 500, no bound', async () => {
  const { body } = await given(0)
  const made = await create({ ...body, phases: [{ percent: 100 }] })
  expect(made.body).toMatchObject({
    priority: 500,
    maxInFlight: null,
    bytesPerMinute: null,
    passQueue: false,
    phases: [{ seenWithin: null, rate: null }],
  })
})

test('a cohort is the group as it was at the start; then the first so many who were heard of lately', async () => {
  const { ids, groupId, body } = await given(12)
  const cohort = await givenGroup(world)
  const join = async (device_id = '') =>
    await world.db
      .insertInto('device_group_member')
      .values({ group_id: cohort, device_id })
      .execute()
  const [one = '', two = '', late, away = '', ...others] = ids
  await join(one)
  await join(two)
  const seen = (days: number) => new Date(world.clock.now().getTime() - days * 86_400_000)
  await world.db
    .insertInto('device_presence')
    .values(
      ids.map((device_id) => ({
        device_id,
        node_id: crypto.randomUUID(),
        epoch: 1,
        connected: false,
        last_seen_at: seen(device_id === away ? 8 : 1),
      })),
    )
    .execute()
  const phases = [{ cohort }, { count: 4 }, { percent: 100 }]
  const made = await create({ ...body, phases })
  expect(made.body['phases']).toMatchObject([{ cohort }, { count: 4, seenWithin: 'P7D' }, {}])
  const before = await api.call('POST', '/rollouts/preview', { ...body, phases })
  expect(before.body['phases']).toMatchObject([{ devices: 2 }, { devices: 4 }, { devices: 6 }])
  await start(made.body['id'])
  await join(late)
  const exact = await api.call('POST', '/rollouts/preview', { rolloutId: made.body['id'] })
  expect(exact.body['phases']).toMatchObject([{ devices: 2 }, { devices: 4 }, { devices: 6 }])
  expect((await meetDevices(world.ctx, ids)).toSorted()).toEqual([one, two].toSorted())
  await api.call('POST', `/rollouts/${String(made.body['id'])}/actions`, { action: 'advance' })
  // Switched off for a week: it proves nothing.
  expect(await meetDevices(world.ctx, [away])).toEqual([])
  expect(await meetDevices(world.ctx, [late ?? '', ...others])).toHaveLength(4)
  await api.call('POST', `/rollouts/${String(made.body['id'])}/actions`, { action: 'advance' })
  expect(await meetDevices(world.ctx, ids)).toHaveLength(6)
  expect(groupId).not.toBe(cohort)
})

test('what cannot be is refused: an unknown cohort, a feature that passes the queue', async () => {
  const { body, groupId } = await given(0, 'feature')
  const nobody = await create({ ...body, phases: [{ cohort: body.releaseId }] })
  expect(nobody).toMatchObject({ status: 404, body: { code: 'not-found' } })
  const refused = await create({ ...body, passQueue: true, phases: [{ cohort: groupId }] })
  expect(refused).toMatchObject({ status: 400, body: { code: 'invalid-request' } })
  expect(refused.text).toContain('Only a security release')
  expect(await create({ ...body, phases: [{ cohort: groupId }] })).toMatchObject({ status: 201 })
})
