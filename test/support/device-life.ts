import { randomBytes } from 'node:crypto'

import type { Behavior } from '../../device-sim/behavior.ts'
import { DeviceConfig } from '../../device-sim/config.ts'
import type { Disk } from '../../device-sim/disk.ts'
import type { Outcome } from '../../device-sim/update/download.ts'
import { installFactoryImages } from '../../device-sim/update/factory.ts'
import type { OwnerRequest } from '../../device-sim/update/owner.ts'
import type { Wanted } from '../../device-sim/update/transfer.ts'
import { saveTrusted } from '../../device-sim/update/trusted.ts'
import { Updater } from '../../device-sim/update/updater.ts'
import { encodeBundle } from '../../pki/tuf/bundle.ts'
import type { LogHead, LogProofs } from '../../pki/tuf/log-entry.ts'
import type { Policy } from '../../pki/tuf/types.ts'
import type { Choice, DeviceEvent, Have, Report } from '../../server/protocol/messages.ts'
import { MemoryDisk } from './memory-disk.ts'
import { deviceId, policy, World } from './tuf-fixture.ts'

export const firmware = 'main 2.4.1'
export const deploymentId = '0192f3c9-10aa-7b41-8f00-5d2c9be1a0f3'
/** Every state of an update that goes well. */
export const wholeWay = [
  'offered',
  'accepted',
  'downloading',
  'verified',
  'installing',
  'installed',
  'rebooting',
  'testing',
  'succeeded',
]

/** One device without a network: its server is a `World`, its time is the test's. */
export class DeviceLife {
  readonly disk: MemoryDisk
  readonly world: World
  readonly config: DeviceConfig
  readonly behavior: Behavior
  readonly reports: Report[] = []
  readonly choices: Choice[] = []
  readonly events: DeviceEvent[] = []
  connected = true
  serverDown = false
  commits = true
  fetch: (disk: Disk, wanted: Wanted, signal: AbortSignal) => Promise<Outcome> = async (
    disk,
    wanted,
  ) => {
    return await honestFetch(disk, wanted, this.world.contents.get(wanted.sha256))
  }
  /** Builds of the components once it is done. */
  goal: readonly number[] = []
  /** What the server says of the transparency log, beside its files. */
  log: ((have: Have) => { head?: LogHead; proofs?: LogProofs }) | undefined
  readonly #time = { ms: 0 }
  #updater: Updater | undefined
  #choices = 1

  private constructor(
    { world, disk }: { world: World; disk: MemoryDisk },
    config: DeviceConfig,
    behavior: Behavior,
  ) {
    this.disk = disk
    this.world = world
    this.config = config
    this.behavior = behavior
    this.#time.ms = world.now.getTime()
  }

  static async make({
    world = offering(),
    behavior = {},
    config = {},
    images = {},
  }: {
    world?: World
    behavior?: Behavior
    config?: Partial<DeviceConfig>
    /** What the maker put into it, by component. */
    images?: Record<string, Buffer>
  } = {}): Promise<DeviceLife> {
    const life = new DeviceLife({ world, disk: new MemoryDisk() }, configOf(config), behavior)
    await saveTrusted(life.disk, undefined, world.factoryState())
    await installFactoryImages(life.disk, life.config.components, images)
    return life
  }

  /** Another life that begins with what is on this one's disk; the world is the same. */
  another(): DeviceLife {
    const disk = this.disk.clone()
    const life = new DeviceLife({ world: this.world, disk }, this.config, this.behavior)
    life.goal = this.goal
    return life
  }

  get updater(): Updater {
    if (!this.#updater) throw new Error('The device is off')
    return this.#updater
  }

  async powerUp(): Promise<Updater> {
    this.#updater = await Updater.open({
      disk: this.disk,
      config: this.config,
      deviceId,
      behavior: this.behavior,
      ...(process.env['DEVICE_LOG'] === undefined ? {} : { log: console.log }),
      clock: { now: () => new Date(this.#time.ms), monotonicMs: () => this.#time.ms },
      isConnected: () => this.connected,
      isServerDown: () => this.serverDown,
      fetch: ({ wanted, signal }) => this.fetch(this.disk, wanted, signal),
    })
    return this.#updater
  }

  async powerDown(): Promise<void> {
    const updater = this.#updater
    this.#updater = undefined
    await updater?.stop()
  }

  /** Time goes by, for the device and for the server. */
  pass({ hours = 0, seconds = 0 }: { hours?: number; seconds?: number }): void {
    const total = hours * 3600 + seconds
    this.#time.ms += total * 1000
    this.world.later(total)
  }

  /** The battery-backed clock is set, and nothing else. */
  setClock(at: Date): void {
    this.#time.ms = at.getTime()
  }

  /** Asks and takes the answer. */
  async hello(): Promise<void> {
    const question = randomBytes(16).toString('hex')
    this.world.later(1)
    const log = this.log?.(this.updater.device.have())
    this.world.answer({
      question,
      change: (signed) => void (log?.head && Object.assign(signed, { 'x-log': log.head })),
    })
    const files = JSON.parse(encodeBundle(this.world.bundle()).toString())
    const message = Buffer.from(JSON.stringify({ ...files, log: log?.proofs }))
    await this.updater.takeBundle(message, [question])
    // As the server does: who asks while it is in test may have missed the answer.
    const last = this.reports.at(-1)
    if (last?.state === 'testing') await this.#commit(last.deploymentId)
  }

  /** Steps, and tells the server, until the device is at rest. */
  async settle(): Promise<void> {
    for (let round = 0; round < 200; round += 1) {
      await this.updater.run()
      // A download and its outcome are not awaited by anybody.
      for (let tick = 0; tick < 20; tick += 1) await Promise.resolve()
      await new Promise((resolve) => setImmediate(resolve))
      await this.updater.run()
      const entry = this.updater.next()
      if (!entry && !this.#isDownloading()) return
      if (entry) await this.#deliver(entry)
    }
    throw new Error('The device does not come to rest')
  }

  /** Asks, and does what comes of it. */
  async day(): Promise<void> {
    await this.hello()
    await this.settle()
  }

  /** The owner says something. */
  async choose(choice: OwnerRequest['choice'], { onlyThis = false } = {}) {
    const id = `choice-${this.#choices++}`
    const result = await this.updater.takeChoice({ id, choice, onlyThis })
    await this.settle()
    return result
  }

  state(): string | undefined {
    return this.updater.device.journal.task?.state
  }

  states(): string[] {
    return this.reports.map(({ state }) => state)
  }

  build(component = 'main'): number | undefined {
    return this.updater.device.installed().find((one) => one.component === component)?.build
  }

  #isDownloading(): boolean {
    return this.state() === 'downloading' && this.connected
  }

  async #deliver(entry: NonNullable<ReturnType<Updater['next']>>): Promise<void> {
    if (entry.leaf === 'choice') this.choices.push(entry.body)
    if (entry.leaf === 'event') this.events.push(entry.body)
    if (entry.leaf === 'report') this.reports.push(entry.body)
    await this.updater.acknowledge(entry)
    if (entry.leaf === 'report' && entry.body.state === 'testing') {
      await this.#commit(entry.body.deploymentId)
    }
  }

  async #commit(deploymentId: string): Promise<void> {
    if (!this.commits) return
    await this.updater.takeCommit(deploymentId, randomBytes(16).toString('hex'))
  }
}

/** A world whose director wants one build on this device, raising its security version. */
export function offering({
  change = {},
  content = firmware,
}: { change?: Partial<Policy>; content?: string } = {}): World {
  const world = new World()
  const releaseClass = change.class ?? 'security'
  const match = releaseClass === 'security' ? {} : { class: releaseClass, fixes: [] }
  world.want(world.addBuild({ content, svn: 42, match }))
  world.publishDelegations()
  world.publishFirmware()
  world.publishWanted({
    change: (signed) => Object.assign(signed, { 'x-policy': { ...policy, ...change } }),
  })
  return world
}

function configOf(config: Partial<DeviceConfig>): DeviceConfig {
  return DeviceConfig.parse({
    format: 1,
    serverHost: 'localhost',
    model: 'gate-2',
    hardwareIds: ['gate-2-r3'],
    components: {
      main: { version: '2.4.0', build: 400, svn: 41 },
      radio: { version: '1.0.0', build: 205, svn: 0 },
    },
    serialNumber: 'SN-7',
    ...config,
  })
}

async function honestFetch(
  disk: Disk,
  { part }: Wanted,
  content: string = firmware,
): Promise<Outcome> {
  await disk.writeAt(part, Buffer.from(content), 0)
  await disk.fsync(part)
  await disk.fsyncDir()
  return { done: 'whole' }
}
