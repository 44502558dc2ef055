import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { noSwupdate, SwupdateSite } from '../support/swupdate.ts'

const noMosquitto = spawnSync('mosquitto_sub', ['--help']).error
const skip = noSwupdate === false && noMosquitto ? 'mosquitto_sub is not installed' : noSwupdate
let site: SwupdateSite
let listener: ChildProcess | undefined

beforeAll(async () => {
  if (skip === false) site = await SwupdateSite.open()
}, 300_000)
afterAll(async () => {
  if (listener?.pid !== undefined) process.kill(-listener.pid, 'SIGKILL')
  if (skip === false) await site[Symbol.asyncDispose]()
})

/** The command of the unit in docs/devices/swupdate.md, as somebody would type it for this device. */
async function commandOfUnit(deviceId: string, home: string, mqttPort: number): Promise<string> {
  const page = await readFile(new URL('../../docs/devices/swupdate.md', import.meta.url), 'utf8')
  const command = /^ExecStart=\/bin\/sh -c '(.+)'$/m.exec(page)?.[1] ?? ''
  expect(command).toContain('swupdate-ipc hawkbitcfg --trigger')
  return command
    .replaceAll('DEVICE_ID', deviceId)
    .replace('-h HOST -p 8883', `-h localhost -p ${mqttPort}`)
    .replaceAll('/etc/fleetseal', home)
}

const why = skip === false ? '' : ` (${skip})`

test.skipIf(skip !== false)(
  `a device that polls once a day is told over MQTT to poll now${why}`,
  async () => {
    const machine = await site.machine('WAKE-1')
    const daily = ['--version-attribute', 'swVersion', '--every', '86399']
    await site.fleetseal('ddi', 'model', 'gate-2', 'swupdate', ...daily)
    await machine.start('1.0.0')
    // After its first poll it comes back soon, to say its version; then it sleeps, for a day or what is left of it.
    await machine.until('asleep', async () => /Sleeping for \d{4,} seconds/.test(machine.log))
    const { deviceId } = machine.client
    const command = await commandOfUnit(deviceId, machine.home, site.server.ports.mqtt)
    const env = { ...process.env, TMPDIR: `${machine.home}/tmp` }
    listener = spawn('/bin/sh', ['-c', command], { env, stdio: 'ignore', detached: true })
    const isConnected = async () =>
      (await site.fleetseal<{ connected: boolean }>('device', 'show', 'WAKE-1')).connected
    for (let n = 0; n < 300 && !(await isConnected()); n++) await sleep(200)
    const update = await site.rollOut(machine, 'WAKE-1')
    const state = async () => (await site.deploymentOf(update.rollout))?.state
    for (let n = 0; n < 300 && (await state()) !== 'installed'; n++) await sleep(400)
    expect(await state(), machine.log.slice(-3_000)).toBe('installed')
    expect((await readFile(machine.target)).equals(update.payload)).toBe(true)
  },
)
