import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { getDefinition } from '../../server/rollouts/approval.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { startDue } from '../../server/rollouts/schedule.ts'
import { getRollout, phasesOf } from '../../server/rollouts/store.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  approve,
  auditOf,
  author,
  ben,
  cleo,
  edit,
  givenDraft,
  phaseRow,
} from '../support/rollout-governance.ts'
import { act, rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

const phasesNow = async (id: string) => {
  const rows = await phasesOf(world.db, [id])
  return rows.map(({ no, percent, hold }) => [no, percent, hold])
}
const stateOf = async (id: string) => (await getRollout(world.db, id)).state

test('an edit voids what was approved: somebody has to look at the new one', async () => {
  const { id } = await givenDraft(world, { settings: { approvals_needed: 1 } })
  expect((await approve(world, id, ben)).state).toBe('approved')
  const old = await getDefinition(world.db, id)
  const edited = await edit(world, id, { name: 'Summer update', reason: 'late' })
  expect(edited).toMatchObject({ state: 'draft', name: 'Summer update', edited_by: author })
  await expect(act(world, id, 'start')).rejects.toMatchObject({ code: 'not-ready' })
  await expect(approve(world, id, cleo, old.definitionHash)).rejects.toMatchObject({
    code: 'conflict',
  })
  // Ben's word was for the old one; he may give it again.
  expect((await approve(world, id, ben)).state).toBe('approved')
  expect((await auditOf(world, id))[2]).toMatchObject({
    action: 'rollout.edit',
    facts: {
      from: 'approved',
      to: 'draft',
      changes: { name: { before: 'Spring update', after: 'Summer update' } },
      voided: [ben],
      reason: 'late',
    },
  })
  // Back to what it was is what it was: the hash says so, and Ben's first word stands again.
  await edit(world, id, { name: 'Spring update' })
  expect((await getDefinition(world.db, id)).definitionHash).toBe(old.definitionHash)
})

test('whoever edited it last does not approve it, whoever did before may', async () => {
  const { id } = await givenDraft(world, { settings: { approvals_needed: 1 } })
  await edit(world, id, { name: 'Second' }, ben)
  await expect(approve(world, id, ben)).rejects.toMatchObject({ code: 'not-allowed' })
  await expect(approve(world, id, author)).rejects.toMatchObject({ code: 'not-allowed' })
  await edit(world, id, { name: 'Third' }, cleo)
  expect((await approve(world, id, ben)).state).toBe('approved')
})

test('the same again changes nothing and leaves no trace; what somebody else changed is not overwritten', async () => {
  const { id } = await givenDraft(world)
  const { definitionHash } = await getDefinition(world.db, id)
  const command = { name: 'Second', definitionHash }
  const first = await edit(world, id, command)
  await expect(edit(world, id, command, ben)).rejects.toMatchObject({ code: 'conflict' })
  expect(await edit(world, id, { name: 'Second' }, ben)).toEqual(first)
  expect(await auditOf(world, id)).toHaveLength(2)
})

test('two edits of the same definition at once: one of them wins', async () => {
  const { id } = await givenDraft(world)
  const { definitionHash } = await getDefinition(world.db, id)
  const results = await Promise.allSettled([
    edit(world, id, { name: 'Second', definitionHash }),
    edit(world, id, { phases: [phaseRow(1, 50), phaseRow(2, 100)], definitionHash }, ben),
  ])
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  expect(await auditOf(world, id)).toHaveLength(2)
})

test('an approval and an edit at once: it is never approved as what nobody approved', async () => {
  for (let turn = 0; turn < 5; turn++) {
    const { id } = await givenDraft(world, { settings: { approvals_needed: 1 } })
    // Read before: who reads after the edit approves that one, rightly.
    const { definitionHash } = await getDefinition(world.db, id)
    await Promise.allSettled([
      approve(world, id, ben, definitionHash),
      edit(world, id, { name: 'Second' }),
    ])
    const { state, name } = await getRollout(world.db, id)
    if (state === 'approved') expect(name).toBe('Spring update')
    else await expect(act(world, id, 'start')).rejects.toMatchObject({ code: 'not-ready' })
  }
})

test('before the start everything about phases may change', async () => {
  const { id } = await givenDraft(world, { phases: [phaseRow(1, 5), phaseRow(2, 100)] })
  await edit(world, id, { phases: [phaseRow(1, 50), phaseRow(2, 75), phaseRow(3, 100)] })
  await edit(world, id, { phases: [phaseRow(1, 20)] })
  expect(await phasesNow(id)).toEqual([[1, 20, false]])
})

test('while it runs: what is over stays, the open phase keeps whom it takes, the rest is free', async () => {
  const { id, ids } = await givenDraft(world, {
    devices: 20,
    phases: [phaseRow(1, 10), phaseRow(2, 40), phaseRow(3, 100)],
  })
  await act(world, id, 'start')
  await act(world, id, 'advance')
  const refused = async (phases: ReturnType<typeof phaseRow>[], why: RegExp) => {
    await expect(edit(world, id, { phases })).rejects.toThrow(why)
  }
  await refused([phaseRow(1, 5), phaseRow(2, 40)], /Phase 1 is over/)
  await refused([{ ...phaseRow(1, 10), hold: true }, phaseRow(2, 40)], /Phase 1 is over/)
  await refused([phaseRow(1, 10), phaseRow(2, 30)], /Phase 2 is open: whom it takes/)
  await refused([phaseRow(1, 10), phaseRow(2, 90), phaseRow(3, 100)], /Phase 2 is open/)
  await refused([phaseRow(1, 10)], /Phase 2 is open and cannot be taken away/)
  expect(await auditOf(world, id)).toHaveLength(3)
  await edit(world, id, {
    phases: [
      phaseRow(1, 10),
      { ...phaseRow(2, 40), hold: true, success_percent: 99 },
      phaseRow(3, 60),
      phaseRow(4, 100),
    ],
  })
  expect(await phasesNow(id)).toEqual([
    [1, 10, false],
    [2, 40, true],
    [3, 60, false],
    [4, 100, false],
  ])
  const [first, second, third] = await phasesOf(world.db, [id])
  expect([first?.opened_at, second?.opened_at, third?.opened_at]).toEqual([
    expect.any(Date),
    expect.any(Date),
    null,
  ])
  expect(await stateOf(id)).toBe('running')
  // It goes on as what it is now.
  await act(world, id, 'advance')
  await act(world, id, 'advance')
  expect(await meetDevices(world.ctx, ids)).toHaveLength(20)
})

test('a running rollout that others approved pauses when it is edited, until it is approved anew', async () => {
  const { id, ids } = await givenDraft(world, { devices: 3, settings: { approvals_needed: 1 } })
  await approve(world, id, ben)
  await act(world, id, 'start')
  const [first = '', second = ''] = ids
  expect(await meetDevices(world.ctx, [first])).toEqual([first])
  const edited = await edit(world, id, { phases: [{ ...phaseRow(1, 100), success_percent: 50 }] })
  expect(edited).toMatchObject({
    state: 'paused',
    reason: expect.stringContaining('approved again'),
  })
  expect(await meetDevices(world.ctx, [second])).toEqual([])
  await expect(act(world, id, 'resume')).rejects.toMatchObject({ code: 'not-ready' })
  expect((await approve(world, id, cleo)).state).toBe('paused')
  await act(world, id, 'resume')
  expect(await meetDevices(world.ctx, [second])).toEqual([second])
})

test('one that nobody has to approve goes on when it is edited', async () => {
  const { id, ids } = await givenDraft(world, { devices: 1 })
  await act(world, id, 'start')
  expect((await edit(world, id, { name: 'Second' })).state).toBe('running')
  expect(await meetDevices(world.ctx, ids)).toEqual(ids)
})

test('approvals become more, never fewer', async () => {
  const { id } = await givenDraft(world, { settings: { approvals_needed: 1 } })
  await expect(edit(world, id, { settings: { approvals_needed: 0 } })).rejects.toMatchObject({
    code: 'invalid-request',
    facts: { at: 'approvals' },
  })
  expect(await edit(world, id, { settings: { approvals_needed: 2 } })).toMatchObject({
    approvals_needed: 2,
  })
})

test.each(['cancelled', 'completed', 'failed'] as const)(
  'a %s rollout is not edited',
  async (state) => {
    const { id } = await givenDraft(world)
    await world.db.updateTable('rollout').set({ state }).where('id', '=', id).execute()
    await expect(edit(world, id, { name: 'Second' })).rejects.toMatchObject({
      code: 'illegal-transition',
    })
  },
)

const inAnHour = () => new Date(world.clock.now().getTime() + 3_600_000)

test('an approved rollout starts when it is time, once, and the trail says by what', async () => {
  const startAt = inAnHour()
  const settings = { approvals_needed: 1, start_at: startAt }
  const { id } = await givenDraft(world, { settings })
  await approve(world, id, ben)
  await startDue(world.ctx)
  expect(await stateOf(id)).toBe('approved')
  // Those who approved did so for this time.
  await expect(act(world, id, 'start')).rejects.toMatchObject({ code: 'not-ready' })
  world.clock.advance({ seconds: 3_600 })
  await Promise.all([startDue(world.ctx), startDue(world.ctx), startDue(world.ctx)])
  expect(await stateOf(id)).toBe('running')
  const starts = (await auditOf(world, id)).filter((row) => row.action === 'rollout.start')
  expect(starts).toMatchObject([
    { actor: 'system', facts: { startAt: startAt.toISOString(), approvedBy: [ben] } },
  ])
})

test('a draft does not start by itself; approved without need of others, it does', async () => {
  const { id } = await givenDraft(world, { settings: { start_at: inAnHour() } })
  world.clock.advance({ seconds: 3_600 })
  await startDue(world.ctx)
  expect(await stateOf(id)).toBe('draft')
  await act(world, id, 'approve')
  await startDue(world.ctx)
  expect(await stateOf(id)).toBe('running')
})

test('what cannot start when it is time goes back to draft, once, and says why', async () => {
  const settings = { approvals_needed: 1, start_at: inAnHour() }
  const { id } = await givenDraft(world, { settings })
  await approve(world, id, ben)
  await world.db.deleteFrom('rollout_approval').where('rollout_id', '=', id).execute()
  world.clock.advance({ seconds: 3_600 })
  await startDue(world.ctx)
  await startDue(world.ctx)
  expect(await getRollout(world.db, id)).toMatchObject({
    state: 'draft',
    reason: expect.stringMatching(/^It was not started at 20.*1 have to approve/),
  })
  expect((await auditOf(world, id)).filter((row) => row.action === 'rollout.miss')).toHaveLength(1)
  await approve(world, id, cleo)
  await startDue(world.ctx)
  expect(await getRollout(world.db, id)).toMatchObject({ state: 'running', reason: null })
})

test('a time that is over, or more than a year ahead, is refused; a changed mind is not', async () => {
  const far = new Date(world.clock.now().getTime() + 400 * 86_400_000)
  for (const start_at of [world.clock.now(), far]) {
    await expect(givenDraft(world, { settings: { start_at } })).rejects.toMatchObject({
      facts: { at: 'startAt' },
    })
  }
  const { id } = await givenDraft(world, { settings: { start_at: inAnHour() } })
  await expect(edit(world, id, { settings: { start_at: far } })).rejects.toMatchObject({
    facts: { at: 'startAt' },
  })
  await edit(world, id, { settings: { start_at: null } })
  expect((await act(world, id, 'start')).state).toBe('running')
  await expect(edit(world, id, { settings: { start_at: inAnHour() } })).rejects.toThrow(
    'It was started already',
  )
})
