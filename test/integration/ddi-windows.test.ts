import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { windowFor } from '../../server/rollouts/window-for.ts'
import { WindowRule } from '../../server/rollouts/window-wire.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  type DdiWorld,
  ddiWorld,
  givenClient,
  givenPollingDevice,
  givenUpdate,
} from '../support/ddi-world.ts'

let handle: DatabaseHandle
let world: DdiWorld
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await ddiWorld(handle)
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const setClock = (at: Date | string) =>
  world.clock.advance({
    seconds: (new Date(at).getTime() - world.clock.now().getTime()) / 1_000,
  })
const nightly = WindowRule.parse({ cron: '0 1 * * *', duration: 'PT4H', zone: 'Europe/Berlin' })

async function setWindow(rolloutId: string, rule: object) {
  await world.db
    .updateTable('rollout')
    .set({ install_window: JSON.stringify(rule) })
    .where('id', '=', rolloutId)
    .execute()
}

test('a polling device is shown nothing outside of a window, and comes back at its place in the next', async () => {
  await givenClient(world, 'swupdate')
  setClock('2027-01-10T12:00:00Z')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  await setWindow(update.rolloutId, nightly)
  expect(await device.links()).toEqual([])
  await expect(update.state()).rejects.toThrow('there is no deployment')
  const { next } = await windowFor(world.ctx, device.id, update.rolloutId)
  setClock(next ?? '')
  expect(await device.links()).toEqual(['deploymentBase'])
})

test('what was shown is taken back at closing, and never by the word skip; what has begun goes on', async () => {
  await givenClient(world, 'rauc')
  setClock('2027-01-11T02:00:00Z')
  const shown = await givenPollingDevice(world)
  const begun = await givenPollingDevice(world)
  const updates = [await givenUpdate(shown), await givenUpdate(begun)]
  for (const { rolloutId } of updates) await setWindow(rolloutId, nightly)
  expect(await shown.links()).toEqual(['deploymentBase'])
  expect(await begun.links()).toEqual(['deploymentBase'])
  await begun.tell('proceeding')
  setClock('2027-01-11T04:00:00Z')
  expect(await shown.links()).toEqual([])
  expect(await begun.links()).toEqual(['deploymentBase'])
  const { json } = await begun.call('GET', '/deploymentBase/1000000001')
  expect(JSON.stringify(json)).not.toContain('skip')
  expect(json.deployment).toMatchObject({ update: 'attempt', maintenanceWindow: 'available' })
  const { next } = await windowFor(world.ctx, shown.id, updates[0]?.rolloutId ?? '')
  const { json: root } = await shown.call('GET', '')
  const [hours = 0, minutes = 0, seconds = 0] = String(root.config.polling.sleep)
    .split(':')
    .map(Number)
  // It polls at its calm pace, and not before its place when that is nearer.
  expect(hours * 3_600 + minutes * 60 + seconds).toBeLessThanOrEqual(330)
  setClock(new Date((next?.getTime() ?? 0) - 1))
  expect(await shown.links()).toEqual([])
  setClock(next ?? '')
  expect(await shown.links()).toEqual(['deploymentBase'])
})
