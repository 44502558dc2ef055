import { randomBytes } from 'node:crypto'

import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { getDefinition } from '../../server/rollouts/approval.ts'
import { definingColumns, definingPhaseColumns } from '../../server/rollouts/definition.ts'
import { getRollout } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  approve as approveAs,
  auditOf as auditAbout,
  author,
  ben,
  cleo,
  givenDraft,
} from '../support/rollout-governance.ts'
import { act, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

async function given(approvals?: number, actor = author): Promise<string> {
  const settings = approvals === undefined ? {} : { approvals_needed: approvals }
  return (await givenDraft(world, { settings, actor })).id
}

const approve = async (id: string, actor: string, hash?: string) =>
  await approveAs(world, id, actor, hash)
const auditOf = async (id: string) => await auditAbout(world, id)

async function stateOf(rolloutId: string): Promise<string> {
  return (await getRollout(world.db, rolloutId)).state
}

test('two people who did not make it, then it starts; the trail says who vouched for which hash', async () => {
  const id = await given(2)
  await expect(act(world, id, 'start')).rejects.toMatchObject({
    code: 'not-ready',
    facts: { needed: 2, missing: 2 },
  })
  expect((await approve(id, ben)).state).toBe('draft')
  await expect(act(world, id, 'start')).rejects.toMatchObject({ facts: { missing: 1 } })
  expect((await approve(id, cleo)).state).toBe('approved')
  expect((await act(world, id, 'start')).state).toBe('running')
  const { definitionHash } = await getDefinition(world.db, id)
  expect((await auditOf(id)).slice(1)).toMatchObject([
    { action: 'rollout.approve', actor: ben, facts: { definitionHash, to: 'draft', given: [ben] } },
    { action: 'rollout.approve', actor: cleo, facts: { to: 'approved', given: [ben, cleo] } },
    { action: 'rollout.start', facts: { definitionHash, approvedBy: [ben, cleo] } },
  ])
})

test('one person is one voice, however often; the second time is no error and leaves no trace', async () => {
  const id = await given(2)
  await approve(id, ben)
  const rows = (await auditOf(id)).length
  expect((await approve(id, ben)).state).toBe('draft')
  expect(await auditOf(id)).toHaveLength(rows)
  await approve(id, cleo)
  expect((await approve(id, cleo)).state).toBe('approved')
  expect(await auditOf(id)).toHaveLength(rows + 1)
})

test('whoever made it is refused, another is not', async () => {
  const id = await given(1)
  await expect(approve(id, author)).rejects.toMatchObject({ code: 'not-allowed' })
  expect(await stateOf(id)).toBe('draft')
  expect((await approve(id, ben)).state).toBe('approved')
})

test('a word is for the definition that was seen, and has to name it', async () => {
  const id = await given(1)
  await expect(approve(id, ben, '00'.repeat(32))).rejects.toMatchObject({ code: 'conflict' })
  await expect(act(world, id, 'approve', { actor: ben })).rejects.toMatchObject({
    code: 'invalid-request',
    facts: { at: 'definitionHash' },
  })
  // Nobody has to: a plain word is enough, also of who made it.
  const free = await given(0)
  expect((await act(world, free, 'approve', { actor: author })).state).toBe('approved')
})

test('rows that were changed behind the service are neither approved nor started', async () => {
  const id = await given(1)
  await approve(id, ben)
  await world.db
    .updateTable('rollout_phase')
    .set({ percent: 99 })
    .where('rollout_id', '=', id)
    .execute()
  await expect(act(world, id, 'start')).rejects.toMatchObject({ code: 'conflict' })
  await expect(approve(id, cleo)).rejects.toMatchObject({ code: 'conflict' })
  await world.db
    .updateTable('rollout_phase')
    .set({ percent: 100 })
    .where('rollout_id', '=', id)
    .execute()
  expect((await act(world, id, 'start')).state).toBe('running')
})

test('the word of a key that was revoked since does not count', async () => {
  const id = await given(1)
  const keyId = newId(world.clock.now())
  await world.db
    .insertInto('api_key')
    .values({
      id: keyId,
      name: 'Ben',
      role: 'operator',
      prefix: 'fs_x',
      created_by: author,
      secret_hash: randomBytes(32),
      created_at: world.clock.now(),
    })
    .execute()
  expect((await approve(id, `key:${keyId}`)).state).toBe('approved')
  await world.db
    .updateTable('api_key')
    .set({ revoked_at: world.clock.now() })
    .where('id', '=', keyId)
    .execute()
  await expect(act(world, id, 'start')).rejects.toMatchObject({ facts: { missing: 1 } })
  expect((await approve(id, ben)).state).toBe('approved')
  expect((await act(world, id, 'start')).state).toBe('running')
})

test('the last two voices at the same moment are two, and one of them moves it', async () => {
  const id = await given(2)
  await Promise.all([approve(id, ben), approve(id, cleo)])
  expect(await stateOf(id)).toBe('approved')
  const moved = (await auditOf(id)).filter((row) => {
    return (row.facts as { to?: string }).to === 'approved'
  })
  expect(moved).toHaveLength(1)
})

test('resuming asks again', async () => {
  const id = await given(1)
  const approved = await approve(id, ben)
  await act(world, id, 'start')
  await act(world, id, 'pause')
  await world.db.deleteFrom('rollout_approval').where('rollout_id', '=', id).execute()
  await expect(act(world, id, 'resume')).rejects.toMatchObject({ code: 'not-ready' })
  expect((await approve(id, cleo)).state).toBe('paused')
  expect((await act(world, id, 'resume')).state).toBe('running')
  expect(approved.phase_no).toBe(0)
})

test('what the server demands is the least: for new drafts, and for those made before', async () => {
  const before = await given()
  world.config.rolloutApprovals = 1
  try {
    await expect(given(0)).rejects.toMatchObject({ code: 'invalid-request', facts: { least: 1 } })
    expect((await getRollout(world.db, await given())).approvals_needed).toBe(1)
    expect((await getRollout(world.db, await given(2))).approvals_needed).toBe(2)
    await expect(act(world, before, 'start')).rejects.toMatchObject({ facts: { missing: 1 } })
    await approve(before, ben)
    expect((await act(world, before, 'start')).state).toBe('running')
    // What the engine makes was said by the definition of its parent.
    expect((await act(world, await given(undefined, 'system'), 'start')).state).toBe('running')
  } finally {
    world.config.rolloutApprovals = 0
  }
})

test('one from before there were hashes is approved and started', async () => {
  const id = await given(1)
  await world.db
    .updateTable('rollout')
    .set({ definition_hash: null })
    .where('id', '=', id)
    .execute()
  await expect(act(world, id, 'start')).rejects.toMatchObject({ code: 'not-ready' })
  expect((await approve(id, ben)).state).toBe('approved')
  expect((await act(world, id, 'start')).state).toBe('running')
})

test.each([
  ['rollout', definingColumns],
  ['rollout_phase', definingPhaseColumns],
])('it is decided of every column of %s whether people approve it', async (table, columns) => {
  const { rows } = await sql<{ column_name: string }>`
    select column_name from information_schema.columns where table_name = ${table}`.execute(
    world.db,
  )
  expect(rows.map((row) => row.column_name).toSorted()).toEqual(Object.keys(columns).toSorted())
})
