import { supersedeReplaced } from '../certificates/service.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import type { IdentityDirectory, Verdict } from '../identity.ts'
import { ChangeFeed } from './change-feed.ts'
import {
  type CertificateStatus,
  findStatus,
  listDeviceStatuses,
  listMembersAmong,
  listStatuses,
  listUsable,
} from './directory-store.ts'
import { announceIdentityChange, identityHorizon } from './identity-change.ts'
import { judgeRow, KnownIdentities } from './known-identities.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'bus' | 'connections'>

export interface DirectoryOptions {
  sweepMs?: number
  maxCertificates?: number
}

export type RunningDirectory = IdentityDirectory &
  AsyncDisposable & {
    /** Reads these devices again and ends the connections of those that lost their right. */
    refresh: (deviceIds: readonly string[]) => Promise<void>
    sweep: () => Promise<void>
  }

/** Without a successful read for this long, and without notifications, nothing in memory is believed. */
const staleAfterMs = 30_000
const readAllAfterMs = 3_600_000
const maxPreloaded = 100_000
const pageSize = 2_000
const maxReads = 5

/**
 * The lookup of architecture.md §6 in memory, filled with the certificates devices may connect with, and kept up to date by
 * the bus and by a sweep over `identity_change` that makes good what the bus lost. Loaded when this returns.
 */
export async function createIdentityDirectory(
  deps: Deps,
  options: DirectoryOptions = {},
): Promise<RunningDirectory> {
  const directory = new Directory(deps, options)
  await directory.start(options.sweepMs ?? 2_000)
  return directory
}

class Directory implements RunningDirectory {
  readonly #deps: Deps
  readonly #known: KnownIdentities
  readonly #feed: ChangeFeed
  readonly #checks = new Map<string, Promise<Verdict>>()
  /** Counts changes heard of, so that a check can tell whether one arrived while it was reading. */
  #epoch = 0
  #allTouched = 0
  readonly #touched = new Map<string, number>()
  #sweeping: Promise<void> | undefined
  #sweepAgain: Promise<void> | undefined
  #lastReadMs = 0
  /** The last sweep failed: something may have been heard of and not read. */
  #isBehind = false
  /** Times that notifications may have been missed, and how many of them were made good by a sweep that began later. */
  #gaps = 0
  #gapsClosed = 0
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(deps: Deps, { maxCertificates = 500_000 }: DirectoryOptions) {
    this.#deps = deps
    this.#feed = new ChangeFeed(deps)
    this.#known = new KnownIdentities(maxCertificates, (id) => deps.connections.has(id))
  }

  async start(sweepMs: number): Promise<void> {
    const { db, clock, bus } = this.#deps
    bus.subscribe('identity', () => void this.sweep())
    bus.onGap(() => {
      this.#gaps++
      void this.sweep()
    })
    this.#feed.begin(await identityHorizon(db))
    let after: string | undefined
    for (let loaded = 0; loaded < maxPreloaded; loaded += pageSize) {
      const page = await listUsable(db, { now: clock.now(), after, limit: pageSize })
      for (const row of page) this.#known.remember(row)
      after = page.at(-1)?.id
      if (page.length < pageSize) break
    }
    this.#lastReadMs = clock.now().getTime()
    await this.sweep()
    this.#timer = setInterval(() => void this.sweep(), sweepMs)
    this.#timer.unref()
  }

  peek = (fingerprint: string): Verdict | undefined => {
    if (!this.ready()) return { allowed: false, refusal: 'status-unknown' }
    return this.#known.verdict(fingerprint, this.#deps.clock.now())
  }

  deviceAllowed = (deviceId: string): boolean | undefined =>
    this.ready() ? this.#known.deviceAllowed(deviceId) : false

  ready = (): boolean => {
    if (this.#lastReadMs === 0) return false
    const age = this.#deps.clock.now().getTime() - this.#lastReadMs
    // A notification is worth something only while what it points to can be read.
    return age <= staleAfterMs || (this.#deps.bus.connected() && !this.#isBehind)
  }

  mayHaveMissed = (): boolean =>
    !this.#deps.bus.connected() || this.#gapsClosed !== this.#gaps || this.#isBehind

  check = async (fingerprint: string): Promise<Verdict> => {
    const running = this.#checks.get(fingerprint)
    if (running) return await running
    const check = this.#check(fingerprint).finally(() => {
      this.#checks.delete(fingerprint)
      if (this.#checks.size === 0) this.#touched.clear()
    })
    this.#checks.set(fingerprint, check)
    return await check
  }

  async #check(fingerprint: string): Promise<Verdict> {
    try {
      if (!this.ready()) await this.sweep()
      const row = await this.#readForUse(fingerprint)
      if (row === 'unsteady' || !this.ready()) return { allowed: false, refusal: 'status-unknown' }
      if (!row) return { allowed: false, refusal: 'unknown-certificate' }
      this.#known.remember(row)
      return judgeRow(row, this.#deps.clock.now())
    } catch (error) {
      this.#deps.log.warn({ err: error }, 'the status of a certificate could not be read')
      return { allowed: false, refusal: 'status-unknown' }
    }
  }

  /** The first use of a renewed certificate ends the one it replaces, before it is let in. */
  async #readForUse(fingerprint: string): Promise<CertificateStatus | undefined | 'unsteady'> {
    const row = await this.#readSteadily(fingerprint)
    const isFirstUse = typeof row === 'object' && row.replaces_live
    if (!isFirstUse || !judgeRow(row, this.#deps.clock.now()).allowed) return row
    await this.#supersede(row)
    return await this.#readSteadily(fingerprint)
  }

  /** Reads until no change of the device was announced during the read: the answer is then not older than memory. */
  async #readSteadily(fingerprint: string): Promise<CertificateStatus | undefined | 'unsteady'> {
    for (let read = 0; read < maxReads; read++) {
      const epoch = this.#epoch
      const row = await findStatus(this.#deps.db, fingerprint)
      if (!row) return undefined
      const touched = Math.max(this.#touched.get(row.device_id) ?? 0, this.#allTouched)
      if (touched <= epoch) return row
    }
    return 'unsteady'
  }

  async #supersede(row: CertificateStatus): Promise<void> {
    const { db, clock } = this.#deps
    const isChanged = await inTransaction(db, (tx) => supersedeReplaced(tx, row, clock.now()))
    if (!isChanged) return
    await announceIdentityChange(this.#deps, [row.device_id])
    // Here at once: whoever saw the new one answered finds the old one refused.
    await this.refresh([row.device_id])
  }

  refresh = async (deviceIds: readonly string[]): Promise<void> => {
    this.#touch(deviceIds)
    const { db, connections } = this.#deps
    for (let at = 0; at < deviceIds.length; at += pageSize) {
      const page = deviceIds.slice(at, at + pageSize)
      const devices = await listDeviceStatuses(db, page)
      const certificates = await listStatuses(db, page)
      const found = new Set(devices.map((row) => row.device_id))
      for (const id of page) if (!found.has(id)) this.#known.forget(id)
      for (const row of devices) if (this.#known.has(row.device_id)) this.#known.setDevice(row)
      for (const row of certificates) {
        if (connections.has(row.device_id)) this.#known.remember(row)
        else this.#known.update(row)
      }
      for (const id of page) connections.drop(id, (owner) => !this.#mayStay(owner.fingerprint))
    }
  }

  /** A connection whose first check is under way is judged by that: it reads again what changes meanwhile. */
  #mayStay(fingerprint: string): boolean {
    const verdict = this.#known.verdict(fingerprint, this.#deps.clock.now())
    return this.#checks.has(fingerprint) || verdict?.allowed === true
  }

  #touch(deviceIds: readonly string[] | 'all'): void {
    this.#epoch++
    if (deviceIds === 'all') this.#allTouched = this.#epoch
    else if (this.#checks.size > 0) for (const id of deviceIds) this.#touched.set(id, this.#epoch)
  }

  /** Never rejects: what could not be read is read by the next one. */
  sweep = async (): Promise<void> => {
    if (!this.#sweeping) {
      this.#sweeping = this.#sweep().finally(() => {
        this.#sweeping = undefined
      })
      return await this.#sweeping
    }
    // The one that runs may have read before the caller's change; all who wait share the next.
    this.#sweepAgain ??= this.#sweeping.then(async () => {
      this.#sweepAgain = undefined
      await this.sweep()
    })
    return await this.#sweepAgain
  }

  async #sweep(): Promise<void> {
    if (this.#stopped) return
    const { clock, log } = this.#deps
    const startedMs = clock.now().getTime()
    const gaps = this.#gaps
    try {
      await this.#feed.read(async ({ deviceIds, groupIds }) => {
        if (groupIds.length > 0) this.#touch('all')
        this.#touch(deviceIds)
        const known = [
          ...new Set([...this.#known.deviceIds(), ...this.#deps.connections.devices()]),
        ]
        const isKnown = new Set(known)
        const affected = new Set(deviceIds.filter((id) => isKnown.has(id)))
        for (const id of await this.#membersAmong(groupIds, known)) affected.add(id)
        await this.refresh([...affected])
      })
      // Rows are not kept for ever: after a long gap what was missed may be gone from the table.
      if (startedMs - this.#lastReadMs > readAllAfterMs) {
        await this.refresh([...this.#known.deviceIds(), ...this.#deps.connections.devices()])
      }
      this.#lastReadMs = startedMs
      this.#isBehind = false
      this.#gapsClosed = gaps
    } catch (error) {
      this.#isBehind = true
      if (!this.#stopped) log.warn({ err: error }, 'changes of identity could not be read')
    }
  }

  async #membersAmong(groupIds: readonly string[], known: readonly string[]): Promise<string[]> {
    const members: string[] = []
    if (groupIds.length === 0) return members
    for (let at = 0; at < known.length; at += pageSize) {
      const page = known.slice(at, at + pageSize)
      members.push(...(await listMembersAmong(this.#deps.db, groupIds, page)))
    }
    return members
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    await this.#sweeping
  }
}
