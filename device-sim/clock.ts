/** What a device can know about time by itself. Tests pass a clock they can move. */
export interface DeviceClock {
  /** The battery-backed clock: may be wrong or set back by anybody who holds the device. */
  now(): Date
  /** Milliseconds since some start that never go back; `now` stands in when absent. */
  monotonicMs?(): number
}

export const systemClock: DeviceClock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
}

/**
 * The time a device acts by (updates.md 2.5): from the last answer to its nonce, carried on by a clock nobody can set; before
 * the first answer of this run, the later of what was stored and the battery-backed clock. Never before what was stored.
 */
export class TrustedClock {
  readonly #clock: DeviceClock
  #stored: number
  #answer: { at: number; heardMs: number } | undefined

  constructor(clock: DeviceClock, storedAt: string | undefined) {
    this.#clock = clock
    this.#stored = storedAt === undefined ? 0 : Date.parse(storedAt)
  }

  /** The trusted time of a verified bundle. */
  hear(instant: string): void {
    this.#answer = { at: Date.parse(instant), heardMs: this.#monotonicMs() }
    this.#stored = this.#answer.at
  }

  /** Milliseconds since 1970. */
  now(): number {
    const carried = this.#answer
      ? this.#answer.at + Math.max(0, this.#monotonicMs() - this.#answer.heardMs)
      : this.#clock.now().getTime()
    return Math.floor(Math.max(this.#stored, carried))
  }

  #monotonicMs(): number {
    return this.#clock.monotonicMs?.() ?? this.#clock.now().getTime()
  }
}
