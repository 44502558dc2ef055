import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { DdiClient } from '../support/ddi-client.ts'
import { openSite, publishRelease, type Site, startRollout } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { cpio, swDescription } from '../support/swu.ts'

const program = '/usr/bin/swupdate'
const skip = existsSync(program) ? false : 'swupdate is not installed (Debian: swupdate)'

let server: RunningServer
let site: Site
let folder: string
let build = 100
const running = new Set<ChildProcess>()

beforeAll(async () => {
  if (skip !== false) return
  server = await startServer({})
  site = await openSite(server)
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-swupdate-'))
  await fleetseal(
    'ddi',
    'model',
    'gate-2',
    'swupdate',
    '--version-attribute',
    'swVersion',
    '--every',
    '30',
  )
  await fleetseal('ddi', 'profile', 'line-1', 'gate-2', 'gate-2-r3')
  for (const name of ['signer', 'stranger']) {
    const subject = ['-subj', `/CN=${name}`, '-addext', 'extendedKeyUsage=emailProtection']
    const key = ['-keyout', `${name}.key`, '-out', `${name}.pem`, '-days', '30']
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...key, ...subject)
  }
  // All at once: SWUpdate sleeps half a minute between its first poll and its second.
  good = await scene('SWU-1', 'signer')
  foreign = await scene('SWU-2', 'stranger')
  refused = await scene('SWU-3', 'signer', async () => {
    await fleetseal('device', 'disable', 'SWU-3', '--reason', 'test')
  })
}, 300_000)
afterAll(async () => {
  for (const child of running) await stop(child)
  if (skip !== false) return
  await server[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

const fleetseal = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)
const openssl = (...args: string[]) =>
  execFileSync('openssl', args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })

/** What a build would make: a description, its CMS signature, and the payload. */
async function swu(version: string, payload: Buffer, target: string, signer: string) {
  const description = swDescription(version, payload, target)
  await writeFile(join(folder, 'sw-description'), description)
  const keys = ['-signer', `${signer}.pem`, '-inkey', `${signer}.key`]
  const files = ['-in', 'sw-description', '-out', 'sw-description.sig', '-outform', 'DER']
  openssl('cms', '-sign', ...files, ...keys, '-nosmimecap', '-binary')
  return cpio([
    { name: 'sw-description', bytes: description },
    { name: 'sw-description.sig', bytes: await readFile(join(folder, 'sw-description.sig')) },
    { name: 'payload.bin', bytes: payload },
  ])
}

/** A machine that runs SWUpdate: its certificate from the server, its state in a folder of its own. */
async function machine(serial: string) {
  const client = await DdiClient.enroll(server, site, serial)
  const home = join(folder, serial)
  await mkdir(join(home, 'tmp'), { recursive: true })
  const file = (name: string) => join(home, name)
  await writeFile(file('device.key'), client.credentials.key, { mode: 0o600 })
  await writeFile(file('device.pem'), client.credentials.cert)
  await writeFile(file('root.pem'), client.credentials.ca)
  const configure = async (version: string) =>
    await writeFile(
      file('swupdate.cfg'),
      `globals: { verbose = true; loglevel = 5; };
suricatta: {
  cafile = "${file('root.pem')}";
  sslkey = "${file('device.key')}";
  sslcert = "${file('device.pem')}";
};
identify : ( { name = "swVersion"; value = "${version}"; } );
`,
    )
  let log = ''
  const start = async (version: string, ...confirm: string[]): Promise<ChildProcess> => {
    await configure(version)
    const url = `https://localhost:${server.ports.device}`
    const suricatta = [
      '-t DEFAULT',
      `-u ${url}`,
      `-i ${client.deviceId}`,
      '-r 3',
      '-w 1',
      '-p 1',
      ...confirm,
    ]
    const args = [
      '-f',
      file('swupdate.cfg'),
      '-k',
      join(folder, 'signer.pem'),
      '-H',
      'board:1.0',
      '-l',
      '5',
    ]
    const child = spawn(program, [...args, '-u', suricatta.join(' ')], {
      cwd: home,
      env: { ...process.env, TMPDIR: file('tmp') },
      stdio: ['ignore', 'pipe', 'pipe'],
      // Its children share its group, so that all of them can be ended.
      detached: true,
    })
    running.add(child)
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (text) => (log += String(text)))
    return child
  }
  return { client, home, start, log: () => log, target: file('installed.bin') }
}

async function stop(child: ChildProcess): Promise<void> {
  running.delete(child)
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  process.kill(-child.pid, 'SIGTERM')
  await Promise.race([gone, sleep(1_000)])
  try {
    // The parent can hang on SIGTERM.
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // It went.
  }
  await gone
}

async function rollOut(serial: string, target: string, signer: string) {
  build += 1
  const version = `2.0.${build}`
  const payload = randomBytes(150_000)
  const image = await swu(version, payload, target, signer)
  const release = { version, build, image, fileName: 'gate.swu', metadataVersion: build - 100 }
  const rollout = await startRollout(site, await publishRelease(site, release), serial)
  return { version, rollout, payload }
}

const deploymentOf = async (rollout: string) =>
  (await fleetseal<{ state: string; code: string | null }[]>('rollout', 'deployments', rollout))[0]

async function until(what: string, holds: () => Promise<boolean>, log: () => string) {
  for (let n = 0; n < 600; n++) {
    if (await holds()) return
    await sleep(250)
  }
  const said = log()
    .split('\n')
    .filter((line) => /ERROR|WARN|Feedback|feedback|state/i.test(line))
  throw new Error(`${what} did not come about; SWUpdate said:\n${said.slice(-40).join('\n')}`)
}

type Scene = Awaited<ReturnType<typeof scene>>
let good: Scene
let foreign: Scene
let refused: Scene

/** A machine for which an image waits, and that has just been switched on. */
async function scene(serial: string, signer: string, before = async () => {}) {
  const device = await machine(serial)
  await before()
  const update = await rollOut(serial, device.target, signer)
  const child = await device.start('1.0.0')
  return { device, ...update, child }
}

const why = skip === false ? '' : ` (${skip})`

test.skipIf(skip !== false)(`SWUpdate polls, installs, restarts, and is proven${why}`, async () => {
  const { device, rollout, version, payload, child } = good
  const inState = (state: string) => async () => (await deploymentOf(rollout))?.state === state
  await until('installed', inState('installed'), device.log)
  expect((await readFile(device.target)).equals(payload)).toBe(true)
  await stop(child)
  // The reboot: the new image says its own version, and that the update was good.
  const second = await device.start(version, '-c 2')
  await until('succeeded', inState('succeeded'), device.log)
  await stop(second)
  expect((await device.client.root())._links?.deploymentBase).toBeUndefined()
})

test.skipIf(skip !== false)(
  `SWUpdate refuses what a stranger signed, and says so${why}`,
  async () => {
    const { device, rollout, child } = foreign
    const isFailed = async () => (await deploymentOf(rollout))?.state === 'failed'
    await until('failed', isFailed, device.log)
    await stop(child)
    expect(await deploymentOf(rollout)).toMatchObject({ code: 'device-reported' })
    expect(existsSync(device.target)).toBe(false)
  },
)

test.skipIf(skip !== false)(`a device that was cut off gets nothing${why}`, async () => {
  const { device, rollout, child } = refused
  await until('refused', async () => /HTTP\/1\.1 403/.test(device.log()), device.log)
  await stop(child)
  expect(await deploymentOf(rollout)).toBeUndefined()
  expect(existsSync(device.target)).toBe(false)
})
