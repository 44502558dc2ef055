import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import type pg from 'pg'

import type { NewRelease, Site } from '../../test/support/operator.ts'
import type { SoakFleet } from './fleet.ts'

export interface WorkOptions {
  site: Site
  fleet: SoakFleet
  database: pg.Client
  devices: number
  minutes: number
  say: (line: string) => void
  publish: (site: Site, release: NewRelease) => Promise<string>
}

export interface Cycle {
  /** Updates and renewals that came to their end. */
  work: number
  grownBytes: number
  seconds: number
}

const imageBytes = 65_536
const mostCycleMs = 600_000
/** A device that was away when it was told to renew hears of it again within a minute. */
const leastCycleMs = 150_000
const pollMs = 1_000
/** Devices that are off for a moment, or were asleep, come with the next cycle. */
const enough = 0.97

/**
 * What happens to the fleet, over and over: a release is rolled out to all of it, then all its certificates are renewed. Each
 * cycle is the same work, and takes a sixth of the time, but 2½ minutes at least and ten at most, the rest of which is quiet.
 */
export class Work {
  readonly cycles: Cycle[] = []
  /** What was not done in time, in words. */
  readonly undone: string[] = []
  readonly #options: WorkOptions
  readonly #cycleMs: number

  constructor(options: WorkOptions) {
    this.#options = options
    const share = (options.minutes * 60_000) / 6
    this.#cycleMs = Math.min(mostCycleMs, Math.max(leastCycleMs, share))
  }

  async run(endMs: number): Promise<void> {
    const { say } = this.#options
    // One that could not end is not begun.
    for (let number = 1; performance.now() + this.#cycleMs <= endMs + pollMs; number++) {
      const began = performance.now()
      const before = await this.#databaseBytes()
      const updated = await this.#update(number, began)
      const renewed = await this.#renew(number, began)
      const work = updated + renewed
      const seconds = (performance.now() - began) / 1_000
      say(`cycle ${number}: ${updated} updates and ${renewed} renewals in ${seconds.toFixed(0)} s`)
      await sleep(Math.max(0, began + this.#cycleMs - performance.now()))
      const grownBytes = (await this.#databaseBytes()) - before
      this.cycles.push({ work, grownBytes, seconds })
    }
  }

  async #update(number: number, began: number): Promise<number> {
    const { site, fleet, publish, devices } = this.#options
    const version = `1.0.${number}`
    const what = { version, build: 100 + number, image: randomBytes(imageBytes) }
    const release = await publish(site, { ...what, metadataVersion: number })
    const perMinute = Math.ceil((devices * 120_000) / this.#cycleMs)
    await site.operator.fleetseal(
      'rollout',
      'create',
      `update ${number}`,
      '--release',
      release,
      '--group',
      'lab',
      '--phase',
      `100:rate=${perMinute}/min`,
      '--start',
    )
    return await this.#until(`update ${number}`, began, () => fleet.now().succeeded[version] ?? 0)
  }

  async #renew(number: number, began: number): Promise<number> {
    const { site, fleet } = this.#options
    const before = fleet.now().renewed
    await site.operator.fleetseal(
      'rollout',
      'create',
      `renewal ${number}`,
      '--certificate',
      `before=${new Date().toISOString()}`,
      '--group',
      'lab',
      '--start',
    )
    return await this.#until(`renewal ${number}`, began, () => fleet.now().renewed - before)
  }

  /** Until nearly all have, or the cycle is over. Returns how many. */
  async #until(what: string, began: number, count: () => number): Promise<number> {
    const { devices } = this.#options
    while (count() < devices * enough) {
      if (performance.now() > began + this.#cycleMs) {
        this.undone.push(`${what}: ${count()} of ${devices} devices in time`)
        break
      }
      await sleep(pollMs)
    }
    return count()
  }

  async #databaseBytes(): Promise<number> {
    const { rows } = await this.#options.database.query<{ bytes: string }>(
      'select pg_database_size(current_database()) as bytes',
    )
    return Number(rows[0]?.bytes)
  }
}
