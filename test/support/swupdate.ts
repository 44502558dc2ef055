import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

import { enrollByCurl } from './curl-enroll.ts'
import { DdiClient } from './ddi-client.ts'
import { hardwareId, model, openSite, publishRelease, type Site, startRollout } from './operator.ts'
import { type RunningServer, startServer } from './server.ts'
import { cpio, swDescription } from './swu.ts'

const program = '/usr/bin/swupdate'
/** Why the real client cannot be run here; false when it can. */
export const noSwupdate: false | string = existsSync(program)
  ? false
  : 'swupdate is not installed (Debian: swupdate)'

const run = promisify(execFile)

/** A server whose model `gate-2` runs SWUpdate, and two people who sign images: `signer`, whom devices trust, and `stranger`. */
export class SwupdateSite implements AsyncDisposable {
  readonly server: RunningServer
  readonly site: Site
  readonly folder: string
  readonly #machines: SwupdateMachine[] = []
  #build = 100

  private constructor(server: RunningServer, site: Site, folder: string) {
    this.server = server
    this.site = site
    this.folder = folder
  }

  static async open(): Promise<SwupdateSite> {
    const server = await startServer({})
    const site = await openSite(server)
    const opened = new SwupdateSite(
      server,
      site,
      await mkdtemp(join(tmpdir(), 'fleetseal-swupdate-')),
    )
    const proof = ['--version-attribute', 'swVersion', '--every', '30']
    await opened.fleetseal('ddi', 'model', 'gate-2', 'swupdate', ...proof)
    await opened.fleetseal('ddi', 'profile', 'line-1', 'gate-2', 'gate-2-r3')
    for (const name of ['signer', 'stranger']) {
      const subject = ['-subj', `/CN=${name}`, '-addext', 'extendedKeyUsage=emailProtection']
      const key = ['-keyout', `${name}.key`, '-out', `${name}.pem`, '-days', '30']
      opened.openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...key, ...subject)
    }
    return opened
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const machine of this.#machines) await machine.stop()
    await this.server[Symbol.asyncDispose]()
    await rm(this.folder, { recursive: true, force: true })
  }

  async fleetseal<T = Record<string, unknown>>(...args: string[]): Promise<T> {
    return await this.site.operator.fleetseal<T>(...args)
  }

  openssl(...args: string[]): Buffer {
    return execFileSync('openssl', args, { cwd: this.folder, stdio: ['ignore', 'pipe', 'pipe'] })
  }

  /** A machine that runs SWUpdate: its certificate from the server by curl, its state in a folder of its own. */
  async machine(serial: string): Promise<SwupdateMachine> {
    const home = join(this.folder, serial)
    await mkdir(join(home, 'tmp'), { recursive: true })
    const tls = await enrollByCurl(this.server, this.site, { serial, folder: home })
    const client = await DdiClient.of(this.server, this.site, serial, tls)
    const machine = new SwupdateMachine(client, home, {
      url: `https://localhost:${this.server.ports.device}`,
      trusts: join(this.folder, 'signer.pem'),
    })
    this.#machines.push(machine)
    return machine
  }

  /** What a build would make: a description, its CMS signature, and the payload. */
  async swu({ version, payload, target, signer }: Image): Promise<Buffer> {
    const description = swDescription(version, payload, target)
    const name = `sw-description-${version}`
    await writeFile(join(this.folder, name), description)
    const keys = ['-signer', `${signer}.pem`, '-inkey', `${signer}.key`]
    const files = ['-in', name, '-out', `${name}.sig`, '-outform', 'DER']
    this.openssl('cms', '-sign', ...files, ...keys, '-nosmimecap', '-binary')
    return cpio([
      { name: 'sw-description', bytes: description },
      { name: 'sw-description.sig', bytes: await readFile(join(this.folder, `${name}.sig`)) },
      { name: 'payload.bin', bytes: payload },
    ])
  }

  /** An image for one machine, published and rolled out to it. */
  async rollOut(machine: SwupdateMachine, serial: string, how: How = {}): Promise<Update> {
    this.#build += 1
    const build = this.#build
    const version = `2.0.${build}`
    const payload = randomBytes(how.size ?? 150_000)
    const signer = how.signer ?? 'signer'
    const target = how.isMisplaced === true ? join(machine.home, 'none', 'x.bin') : machine.target
    const image = await this.swu({ version, payload, target, signer })
    const kind = how.class ? { class: how.class } : {}
    const names = { fileName: 'gate.swu', metadataVersion: build - 100 }
    const release = { version, build, image, ...names, ...kind }
    const published = await publishRelease(this.site, release)
    const rollout = await startRollout(this.site, published, how.group ?? serial)
    return { version, rollout, payload }
  }

  async deploymentOf(rollout: string): Promise<ListedDeployment | undefined> {
    return (await this.fleetseal<ListedDeployment[]>('rollout', 'deployments', rollout))[0]
  }

  /** Polls the server's view until the deployment is in this state. */
  async reach(machine: SwupdateMachine, { rollout }: Update, state: string): Promise<void> {
    await machine.until(
      state,
      async () => (await this.deploymentOf(rollout))?.state === state,
      async () => JSON.stringify(await this.deploymentOf(rollout)),
    )
  }
}

interface Image {
  version: string
  payload: Buffer
  target: string
  signer: string
}

export interface How {
  signer?: 'signer' | 'stranger'
  /** It wants to be written where there is no folder. */
  isMisplaced?: boolean
  class?: 'security' | 'feature'
  group?: string
  /** Bytes of the payload. */
  size?: number
}

export interface Update {
  version: string
  rollout: string
  payload: Buffer
}

interface ListedDeployment {
  id: string
  state: string
  code: string | null
  detail?: string | null
}

/** One device with Debian's SWUpdate on it. */
export class SwupdateMachine {
  readonly client: DdiClient
  readonly home: string
  readonly #url: string
  readonly #trusts: string
  #child: ChildProcess | undefined
  #log = ''

  constructor(client: DdiClient, home: string, told: { url: string; trusts: string }) {
    this.client = client
    this.home = home
    this.#url = told.url
    this.#trusts = told.trusts
  }

  /** Where its images write to. */
  get target(): string {
    return join(this.home, 'installed.bin')
  }

  get log(): string {
    return this.#log
  }

  /** Switched on, with an image that says it is `version`; `confirm` is what its bootloader remembers (`-c 2`). */
  async start(version: string, ...confirm: string[]): Promise<void> {
    const file = (name: string) => join(this.home, name)
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
    const id = this.client.deviceId
    const server = ['-t DEFAULT', `-u ${this.#url}`, `-i ${id}`, '-r 3', '-w 1', '-p 1', ...confirm]
    const own = [
      '-f',
      file('swupdate.cfg'),
      '-k',
      this.#trusts,
      '-H',
      `${model}:${hardwareId}`,
      '-l',
      '5',
    ]
    const child = spawn(program, [...own, '-u', server.join(' ')], {
      cwd: this.home,
      env: this.#environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      // Its children share its group, so that all of them can be ended.
      detached: true,
    })
    this.#child = child
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (text) => (this.#log += String(text)))
  }

  get #environment() {
    return { ...process.env, TMPDIR: join(this.home, 'tmp') }
  }

  /**
   * Has it poll at this interval whatever the server says, also while it downloads: the server's half minute is long for a test.
   */
  async pollEvery(seconds: number): Promise<void> {
    const { log: before } = this
    for (let n = 0; n < 300; n++) {
      // It says nothing about a word that came before it listened, and neither does the tool.
      await this.#say('-p', String(seconds))
      if (this.#log.slice(before.length).includes('Received Message for suricatta')) return
      await sleep(200)
    }
    throw new Error('SWUpdate takes no word over its socket')
  }

  /** Has it poll now, as whoever wakes a device would; without that it sleeps half a minute. */
  async poke(): Promise<void> {
    await this.#say('--trigger')
  }

  /** Over its own socket; it may not listen yet, or no longer. */
  async #say(...words: string[]): Promise<void> {
    const how = { env: this.#environment, timeout: 10_000 }
    await run('swupdate-ipc', ['hawkbitcfg', ...words], how).catch(() => {})
  }

  /** Pokes it until something holds that it is to bring about. */
  async until(
    what: string,
    holds: () => Promise<boolean>,
    where: () => Promise<string> = async () => await Promise.resolve(''),
  ): Promise<void> {
    for (let n = 0; n < 300; n++) {
      if (await holds()) return
      if (n % 4 === 3) await this.poke()
      await sleep(400)
    }
    const said = this.#log
      .split('\n')
      .filter((line) => /ERROR|WARN|feedback|state/i.test(line))
      .slice(-40)
    throw new Error(
      `${what} did not come about (${await where()}); SWUpdate said:\n${said.join('\n')}`,
    )
  }

  async stop(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
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
}
