import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { DeviceAgent } from '../device-sim/agent.ts'
import { FileDisk } from '../device-sim/disk.ts'
import { enrollDevice } from '../device-sim/enroll.ts'
import { findIdentity } from '../device-sim/identity.ts'
import { createBrokerPki } from '../test/support/broker-pki.ts'
import {
  hardwareId,
  model,
  openSite,
  publishRelease,
  type Site,
  startRollout,
} from '../test/support/operator.ts'
import { startPostgres } from '../test/support/postgres.ts'
import { type RunningServer, startServer } from '../test/support/server.ts'
import { cpuOf, median, residentBytes } from './cpu.ts'
import { Downloader } from './downloads.ts'
import { clientOf } from './load.ts'
import { plain, ratio, type Row } from './row.ts'

const count = Number(process.env['FLEETSEAL_BENCH_DEVICES'] ?? 300)
const rounds = 5
const imageBytes = 4 * 1024 * 1024
const agentImageBytes = 2 * 1024 * 1024
const updateMs = 900_000

/**
 * Delivery (updates.md sections 6 and 11): 300 devices that download at once from the whole server, on PostgreSQL, beside a bare
 * node:https file server; then as many whole agents that update at once. CPU time and memory of the servers' processes,
 * interleaved by round, on connections that stand already.
 */
export async function benchDelivery(say: (line: string) => void): Promise<Row[]> {
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-bench-'))
  const postgres = await startPostgres()
  const server = await startServer({ DATABASE_URL: postgres.url, FLEETSEAL_LOG_LEVEL: 'warn' })
  const fleet = new Fleet(server, folder)
  let bare: Source | undefined
  try {
    const site = await openSite(server)
    await fleet.enroll(site, say)
    const image = randomBytes(imageBytes)
    const ours = await fleet.offer(site, image, say)
    bare = await bareServer(folder, image)
    const rows = await measure([ours, bare], say)
    await ours.end()
    return [...rows, ...(await fleet.update(site, say))]
  } finally {
    await bare?.end()
    await fleet.stop()
    await server[Symbol.asyncDispose]()
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

interface Source {
  name: string
  pid: number
  path: string
  downloaders: readonly Downloader[]
  end: () => Promise<void>
}

async function measure(sources: readonly Source[], say: (line: string) => void): Promise<Row[]> {
  const cpu = new Map(sources.map(({ name }) => [name, [] as number[]]))
  const growth = new Map(sources.map(({ name }) => [name, [] as number[]]))
  for (let round = 0; round <= rounds; round++) {
    for (const { name, pid, path, downloaders } of sources) {
      // Not a handshake more than the other: what was idle for long is connected anew before.
      await Promise.all(downloaders.map((one) => one.range(path, 0, 0)))
      const idle = residentBytes(pid)
      let peak = idle
      const watch = setInterval(() => (peak = Math.max(peak, residentBytes(pid))), 100)
      const ms = await cpuOf(pid, async () => {
        const got = await Promise.all(downloaders.map((one) => one.file(path, imageBytes)))
        if (got.some((bytes) => bytes !== imageBytes)) throw new Error('A download was cut short')
      })
      clearInterval(watch)
      const perGb = ms / ((downloaders.length * imageBytes) / 1e9)
      say(
        `  round ${round}: ${name} ${perGb.toFixed(0)} ms/GB, + ${mb(peak - idle)}, in all ${mb(peak)}`,
      )
      // The first one warms both up.
      if (round === 0) continue
      cpu.get(name)?.push(perGb)
      growth.get(name)?.push(peak)
    }
  }
  const cost = (name: string) => median(cpu.get(name) ?? [])
  return [
    ...sources.map(({ name }) =>
      plain(`${count} downloads at once, ${name}, server CPU s/GB`, (cost(name) / 1000).toFixed(2)),
    ),
    ratio('… of bare node:https', cost('fleetseal'), cost('node:https'), 1.3),
    ...sources.map(({ name }) =>
      plain(`… peak memory of ${name}`, mb(Math.max(...(growth.get(name) ?? [])))),
    ),
  ]
}

function mb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`
}

/** The devices of the whole server. */
class Fleet {
  readonly #server: RunningServer
  readonly #folder: string
  #agents: DeviceAgent[] = []
  #versions = 1

  constructor(server: RunningServer, folder: string) {
    this.#server = server
    this.#folder = folder
  }

  #dir(number: number): string {
    return join(this.#folder, `device-${number}`)
  }

  async enroll(site: Site, say: (line: string) => void): Promise<void> {
    const root = await readFile(this.#server.ca, 'utf8')
    const { device: devicePort, mqtt: mqttPort } = this.#server.ports
    const one = async (number: number) =>
      await enrollDevice({
        dir: this.#dir(number),
        root,
        imageRoot: site.imageRoot,
        directorRoot: site.directorRoot,
        profile: site.profile,
        token: site.token,
        config: {
          format: 1,
          serverHost: 'localhost',
          devicePort,
          mqttPort,
          model,
          hardwareIds: [hardwareId],
          components: { main: { version: '1.0.0', build: 1, svn: 0 } },
          serialNumber: `B-${number}`,
          allowEvaluation: true,
        },
      })
    const numbers = Array.from({ length: count }, (_, number) => number)
    const lanes = Array.from({ length: 8 }, async () => {
      for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
        await one(number)
      }
    })
    await Promise.all(lanes)
    say(`  ${count} devices enrolled`)
  }

  async #start(): Promise<void> {
    this.#agents = Array.from({ length: count }, (_, n) => new DeviceAgent({ dir: this.#dir(n) }))
    for (const agent of this.#agents) await agent.start()
  }

  /** All are offered an image that they do not install by themselves, so that it stays theirs to download. */
  async offer(site: Site, image: Buffer, say: (line: string) => void): Promise<Source> {
    const version = '2.0.0'
    const what = { version, build: 2, image, class: 'feature' as const }
    const release = await publishRelease(site, { ...what, metadataVersion: this.#versions++ })
    await this.#start()
    const offered = this.#watch('offered', version)
    await startRollout(site, release)
    await this.#until(offered, say)
    const context = await this.#contexts()
    await this.stop()
    const downloaders = context.map((one) => new Downloader(this.#server.ports.device, one))
    const path = `/artifacts/${createHash('sha256').update(image).digest('hex')}`
    for (const one of downloaders) await one.range(path, 0, 0)
    return {
      name: 'fleetseal',
      pid: this.#server.pid(),
      path,
      downloaders,
      end: async () => downloaders.forEach((one) => one.close()),
    }
  }

  async #contexts() {
    const root = await readFile(this.#server.ca, 'utf8')
    const contexts = []
    for (let number = 0; number < count; number++) {
      const identity = await findIdentity(await FileDisk.open(this.#dir(number)))
      if (!identity) throw new Error('No identity after enrollment')
      contexts.push(clientOf('', identity.key, identity.certificates, root).context)
    }
    return contexts
  }

  /** All of them, whole agents, take a security update at once. */
  async update(site: Site, say: (line: string) => void): Promise<Row[]> {
    const version = '3.0.0'
    const what = { version, build: 3, image: randomBytes(agentImageBytes) }
    const release = await publishRelease(site, { ...what, metadataVersion: this.#versions++ })
    await this.#start()
    const pid = this.#server.pid()
    const idle = residentBytes(pid)
    let peak = idle
    const watch = setInterval(() => (peak = Math.max(peak, residentBytes(pid))), 100)
    const succeeded = this.#watch('succeeded', version)
    await startRollout(site, release)
    await this.#until(succeeded, say)
    clearInterval(watch)
    return [
      {
        what: `${count} agents updating at once, succeeded`,
        figure: String(succeeded.size),
        target: String(count),
        met: succeeded.size === count,
      },
      {
        what: '… growth of the server’s memory',
        figure: mb(peak - idle),
        target: '',
        met: undefined,
      },
    ]
  }

  /** The agents that have come so far with this version, from now on. */
  #watch(state: string, version: string): Set<DeviceAgent> {
    const reached = new Set<DeviceAgent>()
    for (const agent of this.#agents) {
      agent.on('state', (change) => {
        if (change.state === state && change.version === version) reached.add(agent)
      })
    }
    return reached
  }

  /** Until all have, or the time is up. */
  async #until(reached: Set<DeviceAgent>, say: (line: string) => void): Promise<void> {
    const deadline = performance.now() + updateMs
    for (let told = 0; reached.size < count && performance.now() < deadline; told++) {
      if (told % 20 === 0) say(`  ${reached.size} of ${count} agents`)
      await sleep(500)
    }
    say(`  ${reached.size} of ${count} agents`)
  }

  async stop(): Promise<void> {
    for (const agent of this.#agents.splice(0)) await agent.stop()
  }
}

async function bareServer(folder: string, image: Buffer): Promise<Source> {
  const pki = await createBrokerPki()
  await writeFile(join(folder, 'ca.pem'), pki.authorities.clientCa.join(''))
  await writeFile(join(folder, 'server.key'), pki.authorities.tls.key)
  await writeFile(join(folder, 'server.pem'), pki.authorities.tls.cert)
  const file = join(folder, 'image.bin')
  await writeFile(file, image)
  const script = fileURLToPath(new URL('file-server.ts', import.meta.url))
  const child = spawn(process.execPath, [script, folder, file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  const port = Number(/port (\d+)/.exec(line.toString())?.[1])
  const downloaders: Downloader[] = []
  for (let number = 0; number < count; number++) {
    const { key, cert } = await pki.device()
    const one = new Downloader(port, clientOf('', key, cert, pki.rootPem).context)
    await one.range('/', 0, 0)
    downloaders.push(one)
  }
  return {
    name: 'node:https',
    pid: child.pid ?? 0,
    path: '/',
    downloaders,
    end: async () => {
      downloaders.forEach((one) => one.close())
      await ended(child)
    },
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill()
  await exit
}
