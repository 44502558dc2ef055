import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

import { enrollByCurl } from './curl-enroll.ts'
import { DdiClient } from './ddi-client.ts'
import { model, type Site } from './operator.ts'
import type { RunningServer } from './server.ts'

const run = promisify(execFile)
const programs = ['rauc', 'rauc-hawkbit-updater', 'dbus-daemon', 'mksquashfs']

/** Why RAUC and its updater cannot be run here; false when they can. */
export const noRauc: false | string = missing()

function missing(): false | string {
  // mksquashfs ends with 1 when it is asked for its version.
  const absent = programs.filter((one) => spawnSync(one, ['--version']).error)
  return absent.length === 0 ? false : `${absent.join(', ')} not installed`
}

/** A bundle of one image, signed by the key in these files, as a build makes it. */
export async function buildBundle(
  folder: string,
  { version, image, key, cert }: { version: string; image: Buffer; key: string; cert: string },
): Promise<string> {
  const content = join(folder, `content-${version}`)
  await mkdir(content, { recursive: true })
  await writeFile(join(content, 'rootfs.img'), image)
  await writeFile(
    join(content, 'manifest.raucm'),
    `[update]
compatible=${model}
version=${version}

[bundle]
format=plain

[image.rootfs]
filename=rootfs.img
`,
  )
  const bundle = join(folder, `gate-${version}.raucb`)
  await run('rauc', ['bundle', `--cert=${cert}`, `--key=${key}`, content, bundle])
  return bundle
}

/** A device with RAUC, its updater, and a bus of their own. */
export class RaucMachine implements AsyncDisposable {
  readonly client: DdiClient
  readonly #home: string
  readonly #port: number
  readonly #children = new Set<ChildProcess>()
  #updater: ChildProcess | undefined
  #bus = ''
  #log = ''

  private constructor(client: DdiClient, home: string, port: number) {
    this.client = client
    this.#home = home
    this.#port = port
  }

  static async create(
    server: RunningServer,
    site: Site,
    { serial, home, keyring }: { serial: string; home: string; keyring: string },
  ): Promise<RaucMachine> {
    await mkdir(join(home, 'mnt'), { recursive: true })
    const tls = await enrollByCurl(server, site, { serial, folder: home })
    const client = await DdiClient.of(server, site, serial, tls)
    const machine = new RaucMachine(client, home, server.ports.device)
    await machine.#startRauc(keyring)
    return machine
  }

  /** The slot that does not run, which is written to. */
  get target(): string {
    return join(this.#home, 'slot1')
  }

  get log(): string {
    return this.#log
  }

  async #startRauc(keyring: string): Promise<void> {
    const slots = [0, 1].map(
      (n) => `[slot.rootfs.${n}]\ndevice=${this.#home}/slot${n}\ntype=raw\nbootname=${'AB'[n]}\n`,
    )
    for (const n of [0, 1]) await writeFile(join(this.#home, `slot${n}`), Buffer.alloc(65_536))
    const conf = join(this.#home, 'system.conf')
    await writeFile(
      conf,
      `[system]
compatible=${model}
bootloader=noop
mountprefix=${this.#home}/mnt
statusfile=${this.#home}/status

[keyring]
path=${keyring}

${slots.join('\n')}`,
    )
    const bus = this.#start('dbus-daemon', ['--session', '--nofork', '--print-address'])
    let address = ''
    bus.stdout?.on('data', (text) => (address += String(text)))
    while (!address.includes('\n')) {
      if (bus.exitCode !== null) throw new Error(`the bus ended: ${this.#log}`)
      await sleep(50)
    }
    this.#bus = address.trim()
    this.#start('rauc', [`--conf=${conf}`, '--override-boot-slot=A', 'service'])
  }

  /** Switched on, with an image that says it is `version`. */
  async start(version: string): Promise<void> {
    const file = (name: string) => join(this.#home, name)
    await writeFile(
      file('updater.conf'),
      `[client]
hawkbit_server = localhost:${this.#port}
ssl = true
# It takes no file of authorities, only the system's, which is not a test's to change.
ssl_verify = false
tenant_id = DEFAULT
target_name = ${this.client.deviceId}
ssl_key = ${file('device.key')}
ssl_cert = ${file('device.pem')}
bundle_download_location = ${file('download.raucb')}
retry_wait = 2
log_level = debug

[device]
swVersion = ${version}
`,
    )
    this.#updater = this.#start('rauc-hawkbit-updater', ['-c', file('updater.conf')])
  }

  #start(program: string, args: string[]): ChildProcess {
    const env = {
      ...process.env,
      ...(this.#bus === ''
        ? {}
        : { DBUS_SESSION_BUS_ADDRESS: this.#bus, DBUS_STARTER_BUS_TYPE: 'session' }),
    }
    const child = spawn(program, args, {
      cwd: this.#home,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    this.#children.add(child)
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (text) => (this.#log += String(text)))
    return child
  }

  async stop(): Promise<void> {
    if (this.#updater) await end(this.#updater)
    this.#updater = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of [...this.#children].toReversed()) await end(child)
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  process.kill(-child.pid, 'SIGKILL')
  await gone
}
