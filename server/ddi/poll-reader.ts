import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { openStates } from '../protocol/deployment.ts'
import { meetDevices } from '../rollouts/meet.ts'
import { findPollers, type Poller } from './device-store.ts'

export type PollDeps = Pick<Context, 'config' | 'db' | 'clock' | 'metrics'>

/** One device as it stands, after running rollouts have met it. */
export interface Look {
  poller: Poller | undefined
  /** There is a running rollout that did not take the device now, and may later: when a share opens, or a place in it. */
  waits: boolean
}

const perBatch = 200
const mostBatches = 2
const mostWaiting = 10_000

/**
 * Reads devices that poll, those that come while others are read together in one statement. A device without a running rollout costs a
 * share of one read; one that a rollout could be for, a share of two, and of three when it is.
 */
export class PollReader {
  readonly #ctx: PollDeps
  readonly #waiting = new Map<string, PromiseWithResolvers<Look>>()
  #batches = 0

  constructor(ctx: PollDeps) {
    this.#ctx = ctx
  }

  /** @throws DomainError `rate-limited` when too many wait */
  async read(deviceId: string): Promise<Look> {
    const begun = this.#waiting.get(deviceId)
    if (begun) return await begun.promise
    if (this.#waiting.size >= mostWaiting) {
      throw new DomainError('rate-limited', 'Too many devices poll at once: poll again later')
    }
    const answer = Promise.withResolvers<Look>()
    this.#waiting.set(deviceId, answer)
    void this.#next()
    return await answer.promise
  }

  async #next(): Promise<void> {
    if (this.#batches >= mostBatches || this.#waiting.size === 0) return
    const batch = [...this.#waiting.entries().take(perBatch)]
    for (const [id] of batch) this.#waiting.delete(id)
    this.#batches++
    try {
      const looks = await this.#look(batch.map(([id]) => id))
      for (const [id, { resolve }] of batch) resolve(looks.get(id) ?? nobody)
    } catch (error) {
      for (const [, { reject }] of batch) reject(error)
    } finally {
      this.#batches--
      void this.#next()
    }
  }

  async #look(deviceIds: readonly string[]): Promise<Map<string, Look>> {
    const looks = new Map<string, Look>()
    const see = async (ids: readonly string[]) => {
      for (const poller of await findPollers(this.#ctx.db, ids)) {
        looks.set(poller.device_id, { poller, waits: mayBeMet(poller) })
      }
    }
    await see(deviceIds)
    const waiting = [...looks].flatMap(([id, { waits }]) => (waits ? [id] : []))
    if (waiting.length === 0) return looks
    const met = await meetDevices(this.#ctx, waiting)
    if (met.length > 0) await see(met)
    return looks
  }
}

const nobody: Look = { poller: undefined, waits: false }

/** A device that was never described is met after it was (poller.ts). */
function mayBeMet({ deployment, may_be_met, is_described }: Poller): boolean {
  const isBusy = deployment !== null && openStates.includes(deployment.state)
  return may_be_met && is_described && !isBusy
}
