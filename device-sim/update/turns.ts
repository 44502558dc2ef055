export interface TurnsDeps {
  /** Does one step; true when there may be another. */
  step: () => Promise<boolean>
  /** A step failed outside of `run`. */
  onFault: (error: unknown) => void
}

/** More steps than any update has: something goes round in a circle. */
const maxSteps = 100

/**
 * One thing at a time: what comes in takes its turn, and each step that follows from it is a turn of its own, so that an
 * acknowledgement or a choice never waits for a whole installation.
 */
export class Turns {
  readonly #deps: TurnsDeps
  #tail: Promise<unknown> = Promise.resolve()
  #stepping: Promise<void> | undefined
  #isWanted = false
  #isStopped = false

  constructor(deps: TurnsDeps) {
    this.#deps = deps
  }

  /** The result of `work` once it had its turn; the steps go on behind it. */
  async take<T>(work: () => Promise<T>): Promise<T> {
    const result = await this.#turn(work)
    this.run().catch((error: unknown) => this.#deps.onFault(error))
    return result
  }

  /** Steps until none is left. Rejects when one fails. */
  async run(): Promise<void> {
    this.#isWanted = true
    this.#stepping ??= this.#steps()
    await this.#stepping
  }

  /** Resolves when nothing is being done any more. */
  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#stepping?.catch(() => {})
    await this.#tail
  }

  async #turn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(work)
    this.#tail = result.catch(() => {})
    return await result
  }

  async #steps(): Promise<void> {
    try {
      for (let count = 0; this.#isWanted && !this.#isStopped; count += 1) {
        if (count >= maxSteps) throw new Error('The update does not settle')
        this.#isWanted = false
        if (await this.#turn(this.#deps.step)) this.#isWanted = true
      }
    } finally {
      // In the same breath as the last look at the wish, or a wish in between would be lost.
      this.#stepping = undefined
    }
  }
}
