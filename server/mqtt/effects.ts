import type { Context } from '../context.ts'
import type { Limits } from './limits.ts'
import type { AfterCommit } from './message.ts'

/**
 * Runs what messages ask for after their commit. Nobody waits for an effect, but only so many run at once: when the work
 * behind a `hello` is slow, hellos wait, and past the limits of the broker devices are turned away.
 */
export class EffectRunner {
  readonly #ctx: Context
  readonly #limits: Limits
  readonly #ended: () => void
  #running = 0

  constructor(ctx: Context, limits: Limits, ended: () => void) {
    this.#ctx = ctx
    this.#limits = limits
    this.#ended = ended
  }

  get size(): number {
    return this.#running
  }

  hasRoom(): boolean {
    return this.#running < this.#limits.effects
  }

  run(effect: AfterCommit): void {
    this.#running++
    let ended = false
    const end = () => {
      if (ended) return
      ended = true
      clearTimeout(late)
      this.#running--
      this.#ended()
    }
    const late = setTimeout(() => {
      this.#ctx.log.error(
        'an effect of device messages does not end; not waiting for it any longer',
      )
      end()
    }, this.#limits.effectMs)
    const log = (error: unknown) =>
      this.#ctx.log.error({ err: error }, 'an effect of device messages failed')
    void (async () => await effect(this.#ctx))().catch(log).finally(end)
  }
}
