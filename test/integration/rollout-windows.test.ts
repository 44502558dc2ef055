import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { windowFor } from '../../server/rollouts/window-for.ts'
import { WindowRule } from '../../server/rollouts/window-wire.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenStarted } from '../support/rollout-given.ts'
import { rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
})
afterAll(() => handle[Symbol.asyncDispose]())

const zone = 'Europe/Berlin'
const nightly = WindowRule.parse({ cron: '0 1 * * *', duration: 'PT4H', zone })

function setClock(at: Date | string) {
  world.clock.advance({ seconds: (new Date(at).getTime() - world.clock.now().getTime()) / 1_000 })
}

async function giveWindow(of: { group_id: string } | { device_id: string }, rule: object) {
  const now = world.clock.now()
  await world.db
    .insertInto('maintenance_window')
    .values({
      id: newId(now),
      rule: JSON.stringify(rule),
      created_by: 'key:test',
      created_at: now,
      changed_at: now,
      ...of,
    })
    .execute()
}

test('what counts for one device: the rollout, its groups, itself; in one statement', async () => {
  const { ids, groupId, rolloutId } = await givenStarted(world, 2)
  const [deviceId = '', other = ''] = ids
  setClock('2026-12-01T12:00:00Z')
  expect((await windowFor(world.ctx, deviceId, rolloutId)).open).toBe(true)
  await giveWindow({ device_id: deviceId }, nightly)
  const verdict = await windowFor(world.ctx, deviceId, rolloutId)
  expect(verdict).toMatchObject({ open: false, until: null })
  const next = verdict.next ?? new Date(0)
  expect(next >= new Date('2026-12-02T00:00:00Z')).toBe(true)
  expect(next < new Date('2026-12-02T01:00:00Z')).toBe(true)
  expect((await windowFor(world.ctx, other, rolloutId)).open).toBe(true)
  await giveWindow({ group_id: groupId }, nightly)
  expect((await windowFor(world.ctx, other, rolloutId)).open).toBe(false)
  expect(await world.counter.during(() => windowFor(world.ctx, other, rolloutId))).toBe(1)
  setClock(next)
  expect(await windowFor(world.ctx, deviceId, rolloutId)).toEqual({
    open: true,
    until: new Date('2026-12-02T04:00:00Z'),
    next: null,
  })
  await expect(windowFor(world.ctx, newId(next), rolloutId)).rejects.toThrow('No such device')
})
