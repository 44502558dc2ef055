import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { readDesired } from '../../server/director/store.ts'
import { nextOfEach } from '../../server/director/window-turn.ts'
import { newId } from '../../server/ids.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { windowFor } from '../../server/rollouts/window-for.ts'
import { WindowRule } from '../../server/rollouts/window-wire.ts'
import { createTestDatabase } from '../support/database.ts'
import { givenMet, givenStarted, newBuild } from '../support/rollout-given.ts'
import { choose, deploymentIdOf, report } from '../support/rollout-messages.ts'
import {
  act,
  givenRelease,
  givenRollout,
  installedBuild,
  rolloutWorld,
  type RolloutWorld,
} from '../support/rollout-world.ts'

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

const hence = (hours: number) =>
  new Date(world.clock.now().getTime() + hours * 3_600_000).toISOString()

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

test('an offer that nobody answered is taken back while its window is closed, and comes again; what was begun stays', async () => {
  setClock('2026-12-05T01:30:00Z')
  const { groupId, ids, deployments } = await givenMet(world, 3)
  const [quiet = '', begun = '', late = ''] = ids
  await report(world, begun, deployments[1] ?? '', 'downloading')
  await choose(world, late, {
    deploymentId: deployments[2] ?? '',
    choice: 'postpone',
    until: hence(24),
  })
  await giveWindow({ group_id: groupId }, nightly)
  const told = async () => {
    const rows = nextOfEach(await readDesired(world.db, ids, world.clock.now()), world.clock.now())
    return new Map(rows.map((row) => [row.deviceId, row]))
  }
  const during = await told()
  expect(during.get(quiet)?.deployment?.id).toBe(deployments[0])
  // Five o'clock in Berlin is four in UTC.
  expect(during.get(quiet)?.window).toEqual(['00:00-04:00'])
  setClock('2026-12-05T04:00:00Z')
  const after = await told()
  expect(after.get(quiet)?.deployment).toBeUndefined()
  expect(after.get(begun)?.deployment?.id).toBe(deployments[1])
  expect(after.get(begun)?.window).toEqual(['00:00-04:00'])
  expect(after.get(late)?.deployment?.id).toBe(deployments[2])
  setClock('2026-12-06T01:30:00Z')
  expect((await told()).get(quiet)?.deployment?.id).toBe(deployments[0])
})

test('what a closed window holds back stands before nothing else', async () => {
  setClock('2026-12-08T12:00:00Z')
  const { groupId, ids, deployments } = await givenMet(world, 1, { component: 'main' })
  const [device = ''] = ids
  const rows = async () =>
    nextOfEach(await readDesired(world.db, ids, world.clock.now()), world.clock.now())
  world.clock.advance({ seconds: 1 })
  const radio = await givenRelease(world, { component: 'radio', build: newBuild() })
  await world.db
    .updateTable('device')
    .set({
      installed: JSON.stringify([installedBuild(1), installedBuild(1, { component: 'radio' })]),
    })
    .where('id', '=', device)
    .execute()
  const rolloutId = await givenRollout(world, groupId, radio.id)
  await act(world, rolloutId, 'start')
  await meetDevices(world.ctx, ids)
  expect((await rows())[0]?.deployment?.id).toBe(deployments[0])
  await world.db
    .updateTable('rollout')
    .set({ install_window: JSON.stringify(nightly) })
    .where('id', '<>', rolloutId)
    .where('group_id', '=', groupId)
    .execute()
  expect(await rows()).toMatchObject([
    { deployment: { id: await deploymentIdOf(world, rolloutId, device) } },
  ])
})
