import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import type { RolloutWorld } from '../support/rollout-world.ts'
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

const idsOf = (answer: { body: { items: { id: string }[] } }) =>
  answer.body.items.map(({ id }) => id).toSorted()

const definition = (groupId: string, more: object = {}) => ({
  releaseId: given.release.id,
  groupId,
  phases: [{ percent: 100 }],
  ...more,
})

test('the list holds the rollouts to her group; the others are not found, whatever is done with them', async () => {
  expect(idsOf(await ada('GET', '/rollouts'))).toEqual([given.rollouts.mine])
  expect(idsOf(await ada('GET', `/rollouts?groupId=${given.groups.theirs}`))).toEqual([])
  expect(idsOf(await fleet('GET', '/rollouts'))).toHaveLength(2)
  const ids = { outside: given.rollouts.theirs, missing: given.missing() }
  const [own = ''] = given.devices.mine
  for (const [method, path, body] of [
    ['GET', ''],
    ['PATCH', '', { name: 'x' }],
    ['GET', '/definition'],
    ['POST', '/actions', { action: 'cancel' }],
    ['POST', '/actions', { action: 'approve' }],
    ['POST', '/retry', {}],
    ['GET', '/rollback'],
    ['GET', '/rollback/devices'],
    ['POST', '/rollback', {}],
    ['GET', '/deployments'],
    ['GET', '/results'],
    ['GET', '/results?format=csv'],
    ['GET', `/devices/${own}/explanation`],
  ] as const) {
    const path_ = (id: string) => `/rollouts/${id}${path}`
    const answer = await answersAlike(ada, method, path_, { ...ids, body })
    expect(answer.status, `${method} ${path}`).toBe(404)
  }
  for (const id of [given.rollouts.theirs, ids.missing]) {
    expect((await ada('POST', '/rollouts/preview', { rolloutId: id })).status).toBe(404)
  }
  expect((await fleet('GET', `/rollouts/${given.rollouts.theirs}`)).body.state).toBe('running')
})

test('her own is seen, previewed, paused and resumed', async () => {
  const path = `/rollouts/${given.rollouts.mine}`
  for (const [method, rest, body] of [
    ['GET', ''],
    ['GET', '/definition'],
    ['GET', '/rollback'],
    ['GET', '/rollback/devices'],
    ['GET', '/deployments'],
    ['GET', '/results'],
    ['PATCH', '', { name: 'Mine' }],
    ['POST', '/actions', { action: 'pause' }],
    ['POST', '/actions', { action: 'resume' }],
    ['GET', `/devices/${given.devices.mine[0]}/explanation`],
  ] as const) {
    expect((await ada(method, path + rest, body)).status, `${method} ${rest}`).toBe(200)
  }
  const preview = await ada('POST', '/rollouts/preview', { rolloutId: given.rollouts.mine })
  expect(preview.body.devices).toBe(2)
})

test('a rollout is drafted and previewed to a group of hers, with cohorts of hers, by what is true of devices', async () => {
  const draft = async (body: object) =>
    await ada('POST', '/rollouts', { name: 'New', ...definition(given.groups.mine), ...body })
  const preview = async (body: object) =>
    await ada('POST', '/rollouts/preview', { ...definition(given.groups.mine), ...body })
  const cohort = (id: string) => ({ phases: [{ cohort: id }, { percent: 100 }] })
  for (const send of [draft, preview]) {
    const refusals = await Promise.all([
      send({ groupId: given.groups.theirs }).then(({ body }) => body),
      send(cohort(given.groups.theirs)).then(({ body }) => body),
      send({ groupId: given.missing() }).then(({ body }) => body),
      send(cohort(given.missing())).then(({ body }) => body),
    ])
    for (const body of refusals) {
      expect(body).toMatchObject({ status: 404, detail: 'No such group' })
    }
    for (const query of ['group = "x"', 'not enrollmentProfile = "x"']) {
      expect((await send({ query })).body).toMatchObject({ code: 'not-allowed', at: 'query' })
    }
    expect(
      (await send({ query: 'name exists', ...cohort(given.groups.mine) })).status,
    ).toBeLessThan(300)
  }
  const { id } = (await draft({})).body
  const edited = await ada('PATCH', `/rollouts/${id}`, cohort(given.groups.theirs))
  expect(edited.body).toMatchObject({ status: 404, detail: 'No such group' })
  expect((await ada('PATCH', `/rollouts/${id}`, cohort(given.groups.mine))).status).toBe(200)
})

test('a rollout with a cohort of others, one that was made of such, and one that asks for groups are not for her', async () => {
  const phases = [{ cohort: given.groups.theirs }, { percent: 100 }]
  const make = async (more: object) =>
    (await fleet('POST', '/rollouts', { name: 'New', ...definition(given.groups.mine), ...more }))
      .body.id
  const [withCohort, asking, plain] = [
    await make({ phases }),
    await make({ query: `group = "${given.groups.theirs}"` }),
    await make({}),
  ]
  const seen = idsOf(await ada('GET', '/rollouts?limit=200'))
  expect(seen).toContain(plain)
  expect(seen).not.toContain(withCohort)
  expect(seen).not.toContain(asking)
  await world.db
    .updateTable('rollout')
    .set({ parent_id: withCohort })
    .where('id', '=', plain)
    .execute()
  for (const id of [withCohort, asking, plain]) {
    expect((await ada('GET', `/rollouts/${id}`)).status).toBe(404)
    expect(
      (
        await given.server.as([[given.groups.mine], [given.groups.theirs]])(
          'GET',
          `/rollouts/${id}`,
        )
      ).status,
    ).toBe(id === asking ? 404 : 200)
    expect((await fleet('GET', `/rollouts/${id}`)).status).toBe(200)
  }
  // In part is not enough: the rollout goes to all of the group.
  const inPart = given.server.as([[given.groups.mine, given.groups.theirs]])
  expect((await inPart('GET', `/rollouts/${given.rollouts.mine}`)).status).toBe(404)
  const refused = await inPart('POST', '/rollouts', {
    name: 'New',
    ...definition(given.groups.mine),
  })
  expect(refused.status).toBe(403)
})

test('a limit costs no statement more in a list, and one for a thing', async () => {
  const during = async (call: Call, path: string) =>
    await world.counter.during(async () => await call('GET', path))
  const path = `/rollouts/${given.rollouts.mine}`
  const [list, one] = [await during(fleet, '/rollouts'), await during(fleet, path)]
  expect(await during(ada, '/rollouts')).toBe(list)
  expect(await during(ada, path)).toBe(one + 1)
})
