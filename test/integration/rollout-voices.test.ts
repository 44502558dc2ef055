import { randomBytes } from 'node:crypto'

import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { createTestDatabase } from '../support/database.ts'
import { approve as approveAs, givenDraft } from '../support/rollout-governance.ts'
import { act, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
let person: string
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
  person = newId(world.clock.now())
  await world.db
    .insertInto('person')
    .values({
      id: person,
      name: 'Dora',
      email: null,
      state: 'active',
      created_by: 'key:test',
      created_at: world.clock.now(),
    })
    .execute()
})
afterAll(() => handle[Symbol.asyncDispose]())

/** A key of Dora's: owned, or made by her. */
async function givenKey(how: 'owned' | 'made'): Promise<string> {
  const id = newId(world.clock.now())
  await world.db
    .insertInto('api_key')
    .values({
      id,
      name: 'one of several',
      role: 'operator',
      prefix: 'fs_x',
      secret_hash: randomBytes(32),
      created_by: how === 'made' ? `user:${person}` : 'key:test',
      created_at: world.clock.now(),
      owner_id: how === 'owned' ? person : null,
    })
    .execute()
  return `key:${id}`
}

test('whoever made a rollout does not approve it by a key of the same person', async () => {
  const author = await givenKey('owned')
  const { id } = await givenDraft(world, { settings: { approvals_needed: 1 }, actor: author })
  for (const same of [author, `user:${person}`, await givenKey('owned'), await givenKey('made')]) {
    await expect(approveAs(world, id, same)).rejects.toMatchObject({ code: 'not-allowed' })
  }
  expect((await approveAs(world, id, 'key:somebody-else')).state).toBe('approved')
})

test('one person by two keys is one voice', async () => {
  const draft = { settings: { approvals_needed: 2 }, actor: 'key:author' }
  const { id } = await givenDraft(world, draft)
  expect((await approveAs(world, id, await givenKey('owned'))).state).toBe('draft')
  expect((await approveAs(world, id, `user:${person}`)).state).toBe('draft')
  await expect(act(world, id, 'start')).rejects.toMatchObject({ facts: { needed: 2, missing: 1 } })
  expect((await approveAs(world, id, 'key:another')).state).toBe('approved')
  expect((await act(world, id, 'start')).state).toBe('running')
})

test('a policy says how many have to approve any rollout, also one that was drafted before', async () => {
  const { id } = await givenDraft(world, { settings: {}, actor: 'key:author' })
  const now = world.clock.now()
  const policy = { needed: 1, expires_hours: 24, changed_by: 'key:test', changed_at: now }
  await world.db
    .insertInto('approval_policy')
    .values({ kind: 'rollout-start', ...policy })
    .execute()
  await expect(act(world, id, 'start')).rejects.toMatchObject({ facts: { needed: 1 } })
  const less = { settings: { approvals_needed: 0 }, actor: 'key:author' }
  await expect(givenDraft(world, less)).rejects.toMatchObject({ code: 'invalid-request' })
  expect((await approveAs(world, id, 'key:another')).state).toBe('approved')
  expect((await act(world, id, 'start')).state).toBe('running')
})
