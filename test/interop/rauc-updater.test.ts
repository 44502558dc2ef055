import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { openSite, publishRelease, type Site, startRollout } from '../support/operator.ts'
import { buildBundle, noRauc, RaucMachine } from '../support/rauc.ts'
import { type RunningServer, startServer } from '../support/server.ts'

let server: RunningServer
let site: Site
let folder: string
let build = 100
const machines: RaucMachine[] = []

beforeAll(async () => {
  if (noRauc !== false) return
  server = await startServer({})
  site = await openSite(server)
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-rauc-'))
  const how = ['--version-attribute', 'swVersion', '--every', '30']
  await fleetseal('ddi', 'model', 'gate-2', 'rauc', ...how)
  await fleetseal('ddi', 'profile', 'line-1', 'gate-2', 'gate-2-r3')
  await fleetseal('sign', 'image-key', 'release-1', '--keys', site.keys)
  const subject = ['-subj', '/CN=build', '-addext', 'extendedKeyUsage=emailProtection']
  const key = ['-keyout', join(folder, 'build.key'), '-out', join(folder, 'build.pem')]
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30']
  execFileSync('openssl', ['req', '-x509', ...kind, ...key, ...subject], { stdio: 'ignore' })
}, 300_000)
afterAll(async () => {
  if (noRauc !== false) return
  for (const machine of machines) await machine[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

const fleetseal = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)

/** A device that trusts the release key, and an update that the build made and, unless it was forgotten, the release key signed. */
async function scene(serial: string, isSigned: boolean) {
  const home = join(folder, serial)
  await mkdir(home)
  const keyring = join(site.keys, 'release-1.image.crt')
  const machine = await RaucMachine.create(server, site, { serial, home, keyring })
  machines.push(machine)
  build += 1
  const version = `2.0.${build}`
  const image = randomBytes(20_000)
  const keys = { key: join(folder, 'build.key'), cert: join(folder, 'build.pem') }
  const built = await buildBundle(folder, { version, image, ...keys })
  const signed = join(folder, `signed-${version}.raucb`)
  if (isSigned) {
    const how = ['--keys', site.keys, '--key', 'release-1', '--out', signed, '--confirm', version]
    await fleetseal('sign', 'image', built, ...how)
  }
  const release = await publishRelease(site, {
    version,
    build,
    image: await readFile(isSigned ? signed : built),
    fileName: 'gate.raucb',
    metadataVersion: build - 100,
  })
  return { machine, version, image, rollout: await startRollout(site, release, serial) }
}

type Row = { state: string; code: string | null; detail: string | null }
const deploymentOf = async (rollout: string) =>
  (await fleetseal<Row[]>('rollout', 'deployments', rollout))[0]

async function reach(machine: RaucMachine, rollout: string, state: string): Promise<void> {
  for (let n = 0; n < 300; n++) {
    if ((await deploymentOf(rollout))?.state === state) return
    await sleep(400)
  }
  const is = JSON.stringify(await deploymentOf(rollout))
  throw new Error(`${state} did not come about (${is}):\n${machine.log.slice(-4_000)}`)
}

const why = noRauc === false ? '' : ` (${noRauc})`
const story = test.skipIf(noRauc !== false)

story(
  `rauc-hawkbit-updater polls, RAUC installs, and the booted image proves it${why}`,
  async () => {
    const { machine, version, image, rollout } = await scene('RHU-1', true)
    await machine.start('1.0.0')
    // It says so before the reboot.
    await reach(machine, rollout, 'installed')
    expect((await readFile(machine.target)).subarray(0, image.length).equals(image)).toBe(true)
    await machine.stop()
    await machine.start(version)
    await reach(machine, rollout, 'succeeded')
    await machine.stop()
  },
)

story(`RAUC refuses what the release key did not sign, and its updater says so${why}`, async () => {
  const { machine, rollout } = await scene('RHU-2', false)
  await machine.start('1.0.0')
  await reach(machine, rollout, 'failed')
  await machine.stop()
  expect(await deploymentOf(rollout)).toMatchObject({ code: 'device-reported' })
  expect((await readFile(machine.target)).every((byte) => byte === 0)).toBe(true)
})
