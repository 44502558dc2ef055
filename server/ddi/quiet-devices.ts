import type { Links } from './answers.ts'

/** What is needed to answer a device that has nothing to do. */
export interface QuietDevice {
  /** What its polls are answered beside the time. */
  links: Links
  /** What it calls itself in the path. */
  controllerId: string
  /** Until its next poll, before jitter. */
  seconds: number
  /** A running rollout may take it later. */
  waits: boolean
}

interface Entry extends QuietDevice {
  untilMs: number
}

/** A read of one device that is under way, and whether something about it changed meanwhile. */
interface Reading {
  count: number
  isStale: boolean
}

/** At about 200 bytes each. */
const most = 200_000
/** Whatever no process was told of is noticed after this long. */
const longestMs = 15 * 60_000
/** A place in a rollout's bounds that became free is announced to nobody. */
const waitingMs = 60_000
/** Marks that are older than this prove nothing any more: the database is asked again. */
const marksMs = 3_000
/** Without a poll for this long, nobody has to look for changes. */
const unusedMs = 60_000

/**
 * Devices of which this process knows that they have nothing to do, so that their polls cost no statement. It believes itself only while
 * the worker (workers.ts) has lately seen that nothing changed which concerns many, and the bus is there that tells of changes to one. What both
 * miss ends after 15 minutes, and after one where a rollout may take the device. Whether a device may poll at all is not remembered here: that is asked for every request.
 */
export class QuietDevices {
  readonly #entries = new Map<string, Entry>()
  readonly #readings = new Map<string, Reading>()
  readonly #monotonicMs: () => number
  readonly #most: number
  /** False while changes to one device may be missed. */
  readonly #isConnected: () => boolean
  #marksAtMs = Number.NEGATIVE_INFINITY
  #usedAtMs = Number.NEGATIVE_INFINITY

  constructor({
    isConnected,
    most: size = most,
    monotonicMs = () => performance.now(),
  }: {
    isConnected: () => boolean
    most?: number
    monotonicMs?: () => number
  }) {
    this.#isConnected = isConnected
    this.#most = size
    this.#monotonicMs = monotonicMs
  }

  /** Undefined for one that has to be read. */
  get(deviceId: string): QuietDevice | undefined {
    const now = this.#monotonicMs()
    this.#usedAtMs = now
    if (!this.#isTrusted(now)) return undefined
    const entry = this.#entries.get(deviceId)
    if (entry && entry.untilMs > now) return entry
    if (entry) this.#entries.delete(deviceId)
    return undefined
  }

  /** Before a device is read; every call is followed by one of `end`. */
  begin(deviceId: string): void {
    const reading = this.#readings.get(deviceId)
    if (reading) reading.count++
    else this.#readings.set(deviceId, { count: 1, isStale: false })
  }

  /** @param quiet what the read found; undefined for a device that has something to do. Not kept when something changed meanwhile. */
  end(deviceId: string, quiet?: QuietDevice): void {
    const reading = this.#readings.get(deviceId)
    if (!reading) return
    reading.count--
    if (reading.count === 0) this.#readings.delete(deviceId)
    const now = this.#monotonicMs()
    if (!quiet || reading.isStale || !this.#isTrusted(now)) return
    this.#entries.delete(deviceId)
    this.#entries.set(deviceId, {
      ...quiet,
      untilMs: now + (quiet.waits ? waitingMs : longestMs),
    })
    const [oldest] = this.#entries.keys()
    if (this.#entries.size > this.#most && oldest !== undefined) this.#entries.delete(oldest)
  }

  forget(deviceIds: readonly string[]): void {
    for (const id of deviceIds) {
      this.#entries.delete(id)
      const reading = this.#readings.get(id)
      if (reading) reading.isStale = true
    }
  }

  forgetAll(): void {
    this.#entries.clear()
    for (const reading of this.#readings.values()) reading.isStale = true
  }

  /** Does anybody poll, so that changes have to be looked for? */
  isUsed(): boolean {
    return this.#monotonicMs() - this.#usedAtMs < unusedMs
  }

  /** @param atMs on the monotonic clock, before the marks were read; undefined: nobody looks any more */
  marked(atMs: number | undefined): void {
    this.#marksAtMs = atMs ?? Number.NEGATIVE_INFINITY
  }

  now(): number {
    return this.#monotonicMs()
  }

  get size(): number {
    return this.#entries.size
  }

  #isTrusted(now: number): boolean {
    return now - this.#marksAtMs < marksMs && this.#isConnected()
  }
}
