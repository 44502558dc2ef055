import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

import { afterAll, beforeAll, expect, test } from 'vitest'

import {
  type How,
  noSwupdate,
  SwupdateSite,
  type SwupdateMachine,
  type Update,
} from '../support/swupdate.ts'

const run = promisify(execFile)
let site: SwupdateSite

beforeAll(async () => {
  if (noSwupdate !== false) return
  site = await SwupdateSite.open()
}, 300_000)
afterAll(async () => {
  if (noSwupdate === false) await site[Symbol.asyncDispose]()
})

/** A machine that is switched on and has nothing to do, and then something. */
async function scene(serial: string, how: How = {}, ...options: string[]) {
  const machine = await site.machine(serial)
  await machine.start('1.0.0', ...options)
  await machine.pollEvery(2)
  return { machine, update: await site.rollOut(machine, serial, how) }
}

const story = test.skipIf(noSwupdate !== false)
const why = noSwupdate === false ? '' : ` (${noSwupdate})`
/** So slow that whatever happens during the download does, and so large that nothing is in a buffer. */
const slow = { options: ['-n 800k'], how: { size: 32_000_000 } }

const shownTo = async (serial: string) =>
  await site.fleetseal<{ shown?: string; link?: string; reason: string | null }>(
    'ddi',
    'show',
    serial,
  )

async function install(machine: SwupdateMachine, update: Update): Promise<void> {
  await site.reach(machine, update, 'installed')
  expect((await readFile(machine.target)).equals(update.payload)).toBe(true)
  await machine.stop()
}

story(`a cancelled download ends, and the next update is installed${why}`, async () => {
  const { machine, update } = await scene('SWF-1', slow.how, ...slow.options)
  await site.reach(machine, update, 'downloading')
  await site.fleetseal('rollout', 'cancel', update.rollout)
  expect(await site.deploymentOf(update.rollout)).toMatchObject({ state: 'cancelled' })
  // It asks and is told, or its download ends first: after a cancellation no more bytes go out.
  const ends = /cancellation acknowledged|Error processing update chunk/i
  await machine.until('told', async () => ends.test(machine.log))
  await machine.until('settled', async () => !(await hasLink(machine, 'cancelAction')))
  expect(existsSync(machine.target)).toBe(false)
  // Nothing of it is left that would be in the way of another.
  const next = await site.rollOut(machine, 'SWF-1')
  await install(machine, next)
  expect(await site.deploymentOf(update.rollout)).toMatchObject({ state: 'cancelled' })
})

async function hasLink(machine: SwupdateMachine, name: 'deploymentBase' | 'cancelAction') {
  return (await machine.client.root())._links?.[name] !== undefined
}

story(`an image that cannot be installed is reported with its reason${why}`, async () => {
  const { machine, update } = await scene('SWF-2', { isMisplaced: true })
  await site.reach(machine, update, 'failed')
  await machine.stop()
  const row = await site.deploymentOf(update.rollout)
  expect(row).toMatchObject({ state: 'failed', code: 'device-reported' })
  expect(existsSync(machine.target)).toBe(false)
  expect(await shownTo('SWF-2')).toMatchObject({ reason: 'retry-later' })
})

story(`an image that the device falls back from is no success${why}`, async () => {
  const { machine, update } = await scene('SWF-3')
  await install(machine, update)
  // Its bootloader says that all went well, and it is the old image that runs.
  await machine.start('1.0.0', '-c 2')
  await site.reach(machine, update, 'rolled_back')
  await machine.stop()
  expect(await site.deploymentOf(update.rollout)).toMatchObject({ code: 'old-version' })
  expect(await hasLink(machine, 'deploymentBase')).toBe(false)
})

story(`an image of which the bootloader says that it failed is none either${why}`, async () => {
  const { machine, update } = await scene('SWF-4')
  await install(machine, update)
  await machine.start('1.0.0', '-c 3')
  await site.reach(machine, update, 'rolled_back')
  await machine.stop()
  expect(await site.deploymentOf(update.rollout)).toMatchObject({ code: 'device-reported' })
})

story(`what the owner puts off is not shown, and is installed when agreed to${why}`, async () => {
  const { machine, update } = await scene('SWF-5', { class: 'feature' })
  await machine.until('met', async () => (await site.deploymentOf(update.rollout)) !== undefined)
  expect(await shownTo('SWF-5')).toMatchObject({ reason: 'consent-needed' })
  await choose(machine, update, { choice: 'postpone', until: inDays(1) })
  await machine.until('put off', async () => (await shownTo('SWF-5')).reason === 'postponed')
  // It polls, and is neither shown the update nor told to skip it.
  const polls = countOf(machine)
  await machine.until('polled again', async () => countOf(machine) > polls + 1)
  expect(await site.deploymentOf(update.rollout)).toMatchObject({ state: 'postponed' })
  expect(machine.log).not.toMatch(/Skipped Update/)
  expect(existsSync(machine.target)).toBe(false)
  await choose(machine, update, { choice: 'accept' })
  await install(machine, update)
})

const inDays = (days: number) =>
  `${new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 19)}Z`
const countOf = (machine: SwupdateMachine) => machine.log.split('"polling"').length

/** The owner's word, over MQTT with the device's own certificate. */
async function choose(machine: SwupdateMachine, update: Update, said: object): Promise<void> {
  const { id: deploymentId } = (await site.deploymentOf(update.rollout)) ?? {}
  const id = machine.client.deviceId
  const tls = ['--cafile', 'root.pem', '--cert', 'device.pem', '--key', 'device.key']
  const to = ['-h', 'localhost', '-p', String(site.server.ports.mqtt), '-q', '1']
  const message = JSON.stringify({ deploymentId, ...said })
  const what = ['-i', id, '-t', `fleetseal/v1/${id}/choice`, '-m', message]
  await run('mosquitto_pub', [...to, ...tls, ...what], { cwd: machine.home, timeout: 60_000 })
}

story(`a device that is revoked while it downloads installs nothing${why}`, async () => {
  const { machine, update } = await scene('SWF-6', slow.how, ...slow.options)
  await site.reach(machine, update, 'downloading')
  await site.fleetseal('device', 'revoke', 'SWF-6', '--reason', 'keyCompromise')
  await machine.until('refused', async () => /HTTP\/1\.1 403/.test(machine.log))
  await machine.stop()
  expect(existsSync(machine.target)).toBe(false)
  expect(await site.deploymentOf(update.rollout)).not.toMatchObject({ state: 'succeeded' })
})
