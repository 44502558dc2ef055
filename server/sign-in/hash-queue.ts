import { DomainError } from '../errors.ts'

/**
 * Lets `atOnce` pieces of work run and `waiting` more wait for their turn; whoever comes beyond that is told to try again. Guessing passwords
 * can so take a bounded part of the processor and of the memory, and no more.
 */
export class HashQueue {
  readonly #limits: { atOnce: number; waiting: number }
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(limits: { atOnce: number; waiting: number }) {
    this.#limits = limits
  }

  /** @throws DomainError `busy` */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#limits.atOnce) await this.#turn()
    else this.#running += 1
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      // The place is handed on, so that nobody who comes now gets in between.
      if (next) next()
      else this.#running -= 1
    }
  }

  async #turn(): Promise<void> {
    if (this.#waiting.length >= this.#limits.waiting) {
      throw new DomainError('busy', 'Too many people are signing in at this moment: try again', {
        retryAfterSeconds: 2,
      })
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.push(resolve)
    await promise
  }
}
