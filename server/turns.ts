import { DomainError } from './errors.ts'

interface Waiting {
  begin: () => void
  timer: NodeJS.Timeout
}

/**
 * So many at a time, the others in the order in which they came: for work that many ask for at once and that would take every connection to
 * the database from everybody else.
 */
export class Turns {
  readonly #atOnce: number
  readonly #maxWaiting: number
  readonly #maxWaitMs: number
  readonly #random: () => number
  readonly #waiting = new Set<Waiting>()
  #running = 0

  /** `maxWaitMs`: whoever waits longer is told to come again, between once and twice that time later. */
  constructor(
    { atOnce, maxWaiting, maxWaitMs }: { atOnce: number; maxWaiting: number; maxWaitMs: number },
    random: () => number = Math.random,
  ) {
    this.#atOnce = atOnce
    this.#maxWaiting = maxWaiting
    this.#maxWaitMs = maxWaitMs
    this.#random = random
  }

  get running(): number {
    return this.#running
  }

  /** @throws DomainError `busy` with `retryAfterSeconds` for whom there is no turn; else what `work` throws */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#atOnce) this.#running++
    else await this.#wait()
    try {
      return await work()
    } finally {
      this.#next()
    }
  }

  async #wait(): Promise<void> {
    if (this.#waiting.size >= this.#maxWaiting) throw this.#busy()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      this.#waiting.delete(one)
      reject(this.#busy())
    }, this.#maxWaitMs)
    const one = { begin: resolve, timer }
    this.#waiting.add(one)
    return await promise
  }

  /** Hands a turn that ended to the first who waits, so that nobody comes in between. */
  #next(): void {
    const [first] = this.#waiting
    if (!first) {
      this.#running--
      return
    }
    this.#waiting.delete(first)
    clearTimeout(first.timer)
    first.begin()
  }

  #busy(): DomainError {
    const retryAfterSeconds = Math.ceil((this.#maxWaitMs / 1_000) * (1 + this.#random()))
    return new DomainError('busy', 'Too many ask for this at once: come again', {
      retryAfterSeconds,
    })
  }
}
