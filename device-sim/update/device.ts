import { randomBytes, randomUUID } from 'node:crypto'

import { heldVersions } from '../../pki/tuf/bundle.ts'
import type { DeviceFacts, TrustedState } from '../../pki/tuf/types.ts'
import type { Have, Installed } from '../../server/protocol/messages.ts'
import type { Behavior } from '../behavior.ts'
import { type DeviceClock, systemClock, TrustedClock } from '../clock.ts'
import type { DeviceConfig } from '../config.ts'
import type { Disk } from '../disk.ts'
import { type Journal, loadJournal, saveJournal } from './journal.ts'
import { countingLog, loadSeenLog, saveSeenLog, type SeenLog } from './seen-log.ts'
import { bootDevice, type BootRecord, installedOf, type Running } from './slots.ts'
import { loadTrusted } from './trusted.ts'

export type Log = (message: string, details?: Record<string, unknown>) => void

export interface DeviceDeps {
  disk: Disk
  config: DeviceConfig
  deviceId: string
  behavior?: Behavior | undefined
  clock?: DeviceClock | undefined
  log?: Log | undefined
}

interface Stored {
  journal: Journal
  trusted: TrustedState
  seenLog: SeenLog | undefined
}

/**
 * What the update side of one device holds between steps. Memory follows the disk: a change is stored first and only then
 * seen here.
 */
export class Device {
  readonly disk: Disk
  readonly config: DeviceConfig
  readonly deviceId: string
  readonly behavior: Behavior
  readonly clock: DeviceClock
  readonly time: TrustedClock
  readonly log: Log
  /** Of the last boot. */
  bootId = ''
  /** Result of the self-test since the last boot. */
  healthy: boolean | undefined
  #journal: Journal
  trusted: TrustedState
  #seenLog: SeenLog | undefined
  #running: ReadonlyMap<string, Running> = new Map()

  private constructor(deps: DeviceDeps, stored: Stored) {
    this.disk = deps.disk
    this.config = deps.config
    this.deviceId = deps.deviceId
    this.behavior = deps.behavior ?? {}
    this.clock = deps.clock ?? systemClock
    this.log = deps.log ?? (() => {})
    this.#journal = stored.journal
    this.trusted = stored.trusted
    this.#seenLog = stored.seenLog
    this.time = new TrustedClock(this.clock, stored.trusted.timeAt)
  }

  /** Powers the device up. Throws DeviceError when what is stored is damaged. */
  static async open(deps: DeviceDeps): Promise<Device> {
    const journal = await loadJournal(deps.disk)
    const trusted = await loadTrusted(deps.disk)
    const seenLog = await loadSeenLog(deps.disk)
    const device = new Device(deps, { journal, trusted, seenLog })
    await device.boot()
    return device
  }

  async boot(): Promise<void> {
    this.healthy = undefined
    this.#running = await bootDevice(this.disk, Object.keys(this.config.components))
    this.bootId = randomUUID()
  }

  /** New settings, without a restart: what the boot records say now is taken up. */
  async apply(): Promise<void> {
    this.healthy = undefined
    this.#running = await bootDevice(this.disk, Object.keys(this.config.components))
  }

  get journal(): Journal {
    return this.#journal
  }

  async store(journal: Journal): Promise<void> {
    if (journal === this.#journal) return
    await saveJournal(this.disk, journal)
    this.#journal = journal
  }

  get seenLog(): SeenLog | undefined {
    return this.#seenLog
  }

  async sawLog(seen: SeenLog | undefined): Promise<void> {
    if (!seen || seen === this.#seenLog) return
    await saveSeenLog(this.disk, seen)
    this.#seenLog = seen
  }

  now(): number {
    return this.time.now()
  }

  running(component: string): Running {
    const running = this.#running.get(component)
    if (!running) throw new Error(`No component ${component}`)
    return running
  }

  noteRecord(component: string, record: BootRecord): void {
    this.#running = new Map([...this.#running, [component, { ...this.running(component), record }]])
  }

  installed(): Installed[] {
    return [...this.#running].flatMap(([component, { slot, record }]) => {
      const info = record.slots[slot]
      return info ? [installedOf(component, info)] : []
    })
  }

  /** Versions of the metadata files held, as `hello` tells them. */
  have(): Have {
    const { size = 0, proven = [] } = countingLog(this.#seenLog, this.trusted) ?? {}
    return { ...heldVersions(this.trusted), log: { size, proven } }
  }

  facts(): DeviceFacts {
    const { model, hardwareIds, allowEvaluation, firmwareBuildTime } = this.config
    const components = this.installed().map(({ component, build, svn, sha256 }) => [
      component,
      { build, svn, sha256 },
    ])
    return {
      deviceId: this.deviceId,
      model,
      hardwareIds,
      components: Object.fromEntries(components),
      allowEvaluation,
      ...(firmwareBuildTime !== undefined && { firmwareBuildTime }),
    }
  }
}

/** 16 random bytes in lower hex. */
export function newNonce(): string {
  return randomBytes(16).toString('hex')
}
