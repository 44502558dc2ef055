import type { Context } from '../context.ts'
import { ChangeFeed } from '../devices/change-feed.ts'
import { identityHorizon } from '../devices/identity-change.ts'
import type { Worker } from '../workers/worker.ts'
import { readMark } from './mark-store.ts'
import { QuietDevices } from './quiet-devices.ts'

type Deps = Pick<Context, 'db' | 'bus'>

/** A memory of devices with nothing to do that hears what changes about single ones. */
export function createQuietDevices(
  { bus }: Pick<Context, 'bus'>,
  monotonicMs?: () => number,
): QuietDevices {
  const isConnected = () => bus.connected()
  const quiet = new QuietDevices({ isConnected, ...(monotonicMs ? { monotonicMs } : {}) })
  bus.subscribe('wake', (ids) => quiet.forget(ids))
  bus.subscribe('identity', (ids) => quiet.forget(ids))
  bus.onGap(() => quiet.forgetAll())
  return quiet
}

/**
 * Looks twice a second for what may give remembered devices something to do, while any poll: rollouts that start or go on, products that
 * change, devices that join a group. What the bus lost is found here too. Two statements a step, whatever the fleet.
 */
export function ddiWorkers(ctx: Deps, quiet: QuietDevices): Worker[] {
  const watch = new Watch(ctx, quiet)
  return [{ name: 'ddi.quiet', idleMs: 500, step: async () => await watch.step() }]
}

class Watch {
  readonly #db: Deps['db']
  readonly #quiet: QuietDevices
  readonly #feed: ChangeFeed
  #mark: string | undefined

  constructor({ db }: Deps, quiet: QuietDevices) {
    this.#db = db
    this.#quiet = quiet
    this.#feed = new ChangeFeed({ db })
  }

  async step(): Promise<boolean> {
    if (!this.#quiet.isUsed()) {
      this.#mark = undefined
      this.#quiet.marked(undefined)
      return false
    }
    const beganMs = this.#quiet.now()
    try {
      await this.#look()
      this.#quiet.marked(beganMs)
    } catch (error) {
      // What was handed over may be lost: begin anew.
      this.#mark = undefined
      throw error
    }
    return false
  }

  async #look(): Promise<void> {
    const isFirst = this.#mark === undefined
    if (isFirst) this.#feed.begin(await identityHorizon(this.#db))
    const mark = await readMark(this.#db)
    // Whatever was remembered before the first look may be older than what it saw.
    if (mark !== this.#mark) this.#quiet.forgetAll()
    await this.#feed.read(async ({ deviceIds, groupIds }) => {
      if (groupIds.length > 0) this.#quiet.forgetAll()
      this.#quiet.forget(deviceIds)
    })
    this.#mark = mark
  }
}
