import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { endCancelled } from '../../server/deployments/end.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  type DdiWorld,
  ddiWorld,
  givenClient,
  givenPollingDevice,
  givenUpdate,
  type Polling,
} from '../support/ddi-world.ts'
import { historyOf } from '../support/rollout-given.ts'
import { act, givenRelease } from '../support/rollout-world.ts'

/* Conversations of ddi.md §12 for rauc-hawkbit-updater, Zephyr and generic clients. */

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

const cancel = async (rolloutId: string) => {
  await act(world, rolloutId, 'cancel')
  while (await endCancelled(world.ctx));
}
const eventsOf = async ({ id }: Polling) =>
  await world.db
    .selectFrom('security_event')
    .select(['kind', 'facts'])
    .where('device_id', '=', id)
    .execute()

test('rauc: polls every five seconds during its download, and sees the same', async () => {
  await givenClient(world, 'rauc')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  await device.links()
  await device.tell('proceeding')
  for (let n = 0; n < 12; n++) {
    world.clock.advance({ seconds: 5 })
    expect(await device.links()).toEqual(['deploymentBase'])
  }
  expect(await update.state()).toBe('downloading')
  expect(await device.tell('downloaded', 'success')).toBe(200)
  expect(await update.state()).toBe('verified')
})

test('rauc: 500 range requests write nothing and hardly read', async () => {
  await givenClient(world, 'rauc')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device, { bytes: 50_000 })
  await device.links()
  const file = '/softwaremodules/1000000001/artifacts/gate.swu'
  const range = async (at: number) =>
    await device.call('GET', file, undefined, { Range: `bytes=${at * 100}-${at * 100 + 99}` })
  await range(0)
  const before = await update.row()
  const parts: Buffer[] = []
  const statements = await world.counter.during(async () => {
    for (let n = 0; n < 500; n++) parts.push((await range(n)).bytes)
  })
  expect(Buffer.concat(parts).equals(update.image)).toBe(true)
  expect(await update.row()).toEqual(before)
  // One a second, however long it takes.
  expect(statements).toBeLessThan(250)
})

test('rauc: a cancellation that it refuses while it installs is taken back, and the update counts', async () => {
  await givenClient(world, 'rauc')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  await device.links()
  await device.tell('proceeding')
  await cancel(update.rolloutId)
  expect(await device.links()).toEqual(['cancelAction'])
  expect(await device.tell('rejected', 'success', { kind: 'cancelAction' })).toBe(200)
  expect(await update.row()).toMatchObject({ state: 'installing', code: 'cancel-refused' })
  expect(await device.links()).toEqual(['deploymentBase'])
  // Nor does the cancelled rollout take it back again.
  while (await endCancelled(world.ctx));
  expect(await device.tell('rejected', 'success', { kind: 'cancelAction' })).toBe(200)
  expect(await update.state()).toBe('installing')
  expect(await device.tell('closed', 'success')).toBe(200)
  await device.says(update.version)
  expect(await update.state()).toBe('succeeded')
  const history = await historyOf(world, await update.id())
  expect(history).toContain('installing engine')
  expect((await eventsOf(device)).map(({ kind }) => kind)).toEqual(['ddi-cancel-refused'])
})

test('rauc: after its success nothing is cancelled, and it is asked nothing that it would not answer', async () => {
  await givenClient(world, 'rauc')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  await device.links()
  await device.tell('closed', 'success')
  await cancel(update.rolloutId)
  expect(await update.state()).toBe('installed')
  expect(await device.links()).toEqual(['configData'])
})

test('rauc: the old version after the reboot ends as rolled back', async () => {
  await givenClient(world, 'rauc')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  await device.links()
  await device.tell('closed', 'success')
  await device.says('1.0.0')
  expect(await update.state()).toBe('installed')
  world.clock.advance({ seconds: 301 })
  await device.says('1.0.0')
  expect(await update.state()).toBe('rolled_back')
})

test('rauc: the old version some time after its success takes that back, right after it does not', async () => {
  await givenClient(world, 'rauc')
  const device = await givenPollingDevice(world)
  await givenRelease(world, { build: 2, version: '0.9.2' })
  const update = await givenUpdate(device)
  await device.links()
  await device.tell('closed', 'success')
  world.clock.advance({ seconds: 301 })
  await device.says(update.version)
  expect(await update.state()).toBe('succeeded')
  await device.says('0.9.2')
  expect(await update.state()).toBe('succeeded')
  expect(await device.links()).toEqual(['configData'])
  world.clock.advance({ seconds: 301 })
  // What was never released here may be anything, and so newer.
  await device.says('a build of the workshop')
  expect(await update.state()).toBe('succeeded')
  await device.says('0.9.2')
  expect(await update.state()).toBe('rolled_back')
  expect((await eventsOf(device)).map(({ kind }) => kind)).toContain('outcome-corrected')
})

test('zephyr: everything in one connection, and an end of it; the same id after the boot', async () => {
  await givenClient(world, 'zephyr', { attribute: null })
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device, { name: 'app.signed.bin' })
  expect(await device.links()).toEqual(['deploymentBase'])
  const { json } = await device.call('GET', '/deploymentBase/1000000001')
  const { chunks } = (json as { deployment: { chunks: { part: string }[] } }).deployment
  expect(chunks.map(({ part }) => part)).toEqual(['bApp'])
  await device.call('GET', '/softwaremodules/1000000001/artifacts/app.signed.bin')
  // It comes back without sleeping, and again after its boot: always the same id.
  for (let n = 0; n < 3; n++) {
    const { json: root } = await device.call('GET', '')
    expect(JSON.stringify(root)).toContain('/deploymentBase/1000000001?')
  }
  expect(await update.state()).toBe('downloading')
  const body = { status: { result: { finished: 'success' }, execution: 'closed' } }
  expect((await device.call('POST', '/deploymentBase/1000000001/feedback', body)).status).toBe(200)
  expect(await update.state()).toBe('succeeded')
  expect(await device.links()).toEqual(['configData'])
  await device.call('PUT', '/configData', { mode: 'merge', data: { VIN: 'z' } })
  expect(await device.links()).toEqual([])
})

test('zephyr: a cancellation answered with failure: it had installed already, and says so after its boot', async () => {
  await givenClient(world, 'zephyr', { attribute: null })
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device, { name: 'app.signed.bin' })
  await device.links()
  await device.call('GET', '/softwaremodules/1000000001/artifacts/app.signed.bin')
  await cancel(update.rolloutId)
  expect(await device.links()).toEqual(['cancelAction'])
  // Its other way to say the id: without the first digit.
  expect(await device.tell('closed', 'failure', { kind: 'cancelAction', id: 1 })).toBe(200)
  expect(await device.links()).toEqual(['cancelAction'])
  expect(await device.tell('closed', 'failure', { kind: 'cancelAction' })).toBe(200)
  expect(await device.links()).toEqual(['deploymentBase'])
  expect(await device.tell('closed', 'success')).toBe(200)
  expect(await update.state()).toBe('succeeded')
})

test('zephyr: a refused cancellation does not come back where something newer is open', async () => {
  await givenClient(world, 'zephyr', { attribute: null })
  const device = await givenPollingDevice(world)
  const old = await givenUpdate(device, { name: 'app.signed.bin' })
  await device.links()
  await device.tell('proceeding')
  await cancel(old.rolloutId)
  const { rolloutId } = await givenUpdate(device, { name: 'app.signed.bin' })
  expect(await meetDevices(world.ctx, [device.id])).toEqual([device.id])
  expect(await device.links()).toEqual(['cancelAction'])
  expect(await device.tell('closed', 'failure', { kind: 'cancelAction' })).toBe(200)
  expect(await old.state()).toBe('cancelled')
  const { json } = await device.call('GET', '')
  expect(JSON.stringify(json)).toContain('/deploymentBase/1000000002?')
  const events = await eventsOf(device)
  expect(events).toMatchObject([{ kind: 'ddi-cancel-refused', facts: { goesOn: false } }])
  expect(rolloutId).not.toBe(old.rolloutId)
})

const feature = async () => {
  await givenClient(world, 'generic')
  const device = await givenPollingDevice(world)
  return { device, update: await givenUpdate(device, { kind: 'feature' }) }
}

test('generic: confirm: asked, answered, offered', async () => {
  const { device, update } = await feature()
  expect(await device.links()).toEqual(['confirmationBase'])
  const { json } = await device.call('GET', '/confirmationBase/1000000001')
  expect(Object.keys(json as object)).toEqual(['id', 'confirmation'])
  const at = '/confirmationBase/1000000001/feedback'
  expect((await device.call('POST', at, { confirmation: 'confirmed' })).status).toBe(200)
  expect(await device.links()).toEqual(['deploymentBase'])
  expect(await update.state()).toBe('accepted')
})

test('generic: deny, then accept', async () => {
  const { device, update } = await feature()
  await device.links()
  const at = '/confirmationBase/1000000001/feedback'
  await device.call('POST', at, { confirmation: 'denied' })
  expect(await update.state()).toBe('opted_out')
  expect(await device.links()).toEqual([])
  await device.call('POST', at, { confirmation: 'confirmed' })
  expect(await device.links()).toEqual(['deploymentBase'])
})

test('generic: auto-confirm is a choice made beforehand, in the ledger and the audit log, until it is taken back', async () => {
  const { device, update } = await feature()
  const base = async () => (await device.call('GET', '/confirmationBase')).json as object
  expect(await base()).toEqual({
    autoConfirm: { active: false },
    _links: {
      activateAutoConfirm: { href: `${device.base}/confirmationBase/activateAutoConfirm` },
    },
  })
  expect(await device.links()).toEqual(['confirmationBase'])
  expect(await base()).toMatchObject({
    _links: { confirmationBase: { href: `${device.base}/confirmationBase/1000000001` } },
  })
  const on = { initiator: 'owner', remark: 'at night' }
  for (let n = 0; n < 2; n++) {
    const path = '/confirmationBase/activateAutoConfirm'
    expect((await device.call('POST', path, on)).status).toBe(200)
  }
  expect(await base()).toEqual({
    autoConfirm: { active: true, ...on, activatedAt: world.clock.now().getTime() },
    _links: {
      deactivateAutoConfirm: { href: `${device.base}/confirmationBase/deactivateAutoConfirm` },
    },
  })
  expect(await device.links()).toEqual(['deploymentBase'])
  expect(await update.state()).toBe('accepted')
  const choices = await world.db
    .selectFrom('choice_event')
    .select(['choice', 'outcome'])
    .where('device_id', '=', device.id)
    .execute()
  expect(choices).toEqual([{ choice: 'accept', outcome: 'applied' }])
  await device.tell('closed', 'failure')
  expect((await device.call('POST', '/confirmationBase/deactivateAutoConfirm')).status).toBe(200)
  expect(await base()).toMatchObject({ autoConfirm: { active: false } })
  const audit = await world.db
    .selectFrom('audit_event')
    .select('action')
    .where('subject', '=', device.id)
    .orderBy('seq')
    .execute()
  expect(audit.map(({ action }) => action)).toEqual(['ddi.auto-confirm', 'ddi.auto-confirm-end'])
})

test('generic: installedBase tells what was proven, and only that', async () => {
  await givenClient(world, 'generic')
  const device = await givenPollingDevice(world)
  const update = await givenUpdate(device)
  expect(await device.links()).toEqual(['deploymentBase'])
  const installed = '/installedBase/1000000001'
  expect((await device.call('GET', installed)).status).toBe(404)
  await device.tell('closed', 'success', { details: ['one'] })
  expect((await device.call('GET', installed)).status).toBe(404)
  await device.says(update.version)
  const links = async () => ((await device.call('GET', '')).json as { _links: object })._links
  const told = { installedBase: { href: `${device.base}${installed}` } }
  expect(await links()).toEqual(told)
  // From memory, too.
  expect(await links()).toEqual(told)
  const { status, json } = await device.call('GET', `${installed}?actionHistory=1`)
  expect(status).toBe(200)
  expect(json).toMatchObject({
    id: '1000000001',
    deployment: { chunks: [{ version: update.version }] },
    actionHistory: { status: 'FINISHED', messages: ['one'] },
  })
  // Its bytes go out no more, and nobody else is told.
  const file = '/softwaremodules/1000000001/artifacts/gate.swu'
  expect((await device.call('GET', file)).status).toBe(404)
  const other = await givenPollingDevice(world)
  expect((await other.call('GET', installed)).status).toBe(404)
})
