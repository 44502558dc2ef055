import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { type How, noSwupdate, SwupdateSite, type Update } from '../support/swupdate.ts'

let site: SwupdateSite

beforeAll(async () => {
  if (noSwupdate !== false) return
  site = await SwupdateSite.open()
}, 300_000)
afterAll(async () => {
  if (noSwupdate === false) await site[Symbol.asyncDispose]()
})

/** A machine for which an image waits, and that has just been switched on. */
async function scene(serial: string, how: How = {}, before = async () => {}) {
  const machine = await site.machine(serial)
  await before()
  const update = await site.rollOut(machine, serial, how)
  await machine.start('1.0.0')
  return { machine, update, state: stateOf(update) }
}

const stateOf = (update: Update) => async () => (await site.deploymentOf(update.rollout))?.state
const why = noSwupdate === false ? '' : ` (${noSwupdate})`
const story = test.skipIf(noSwupdate !== false)

story(`SWUpdate polls, installs, restarts, and is proven${why}`, async () => {
  const { machine, update } = await scene('SWU-1')
  await site.reach(machine, update, 'installed')
  expect((await readFile(machine.target)).equals(update.payload)).toBe(true)
  await machine.stop()
  // The reboot: the new image says its own version, and that the update was good.
  await machine.start(update.version, '-c 2')
  await site.reach(machine, update, 'succeeded')
  await machine.stop()
  expect((await machine.client.root())._links?.deploymentBase).toBeUndefined()
})

story(`SWUpdate refuses what a stranger signed, and says so${why}`, async () => {
  const { machine, update } = await scene('SWU-2', { signer: 'stranger' })
  await site.reach(machine, update, 'failed')
  await machine.stop()
  expect(await site.deploymentOf(update.rollout)).toMatchObject({ code: 'device-reported' })
  expect(existsSync(machine.target)).toBe(false)
})

story(`a device that was cut off gets nothing${why}`, async () => {
  const { machine, state } = await scene('SWU-3', {}, async () => {
    await site.fleetseal('device', 'disable', 'SWU-3', '--reason', 'test')
  })
  await machine.until('refused', async () => /HTTP\/1\.1 403/.test(machine.log))
  await machine.stop()
  expect(await state()).toBeUndefined()
  expect(existsSync(machine.target)).toBe(false)
})
