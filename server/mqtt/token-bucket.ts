/**
 * Lets `burst` through at once and `perSecond` in the long run. Reads a monotonic clock: the wall clock may jump, and a
 * device must gain nothing from that.
 */
export class TokenBucket {
  readonly #perSecond: number
  readonly #burst: number
  readonly #monotonicMs: () => number
  #tokens: number
  #at: number

  constructor(
    perSecond: number,
    burst: number,
    monotonicMs: () => number = () => performance.now(),
  ) {
    this.#perSecond = perSecond
    this.#burst = burst
    this.#monotonicMs = monotonicMs
    this.#tokens = burst
    this.#at = monotonicMs()
  }

  /** True when there was a token to take. */
  take(): boolean {
    const now = this.#monotonicMs()
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1000) * this.#perSecond)
    this.#at = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}
