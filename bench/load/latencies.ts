/** How long something took, in milliseconds. */
export interface Latencies {
  count: number
  least: number
  p50: number
  p90: number
  p99: number
  p999: number
  most: number
}

/** Each bucket is so much wider than the one before: what a quantile may be wrong by. */
const step = Math.log(1.01)
const leastMs = 0.001
/** Up to 26 hours. */
const most = 2_600

/** Latencies in buckets one percent wide: as much memory for a million of them as for one. */
export class Histogram {
  readonly #buckets = new Uint32Array(most)
  #count = 0
  #least = Number.POSITIVE_INFINITY
  #most = 0

  add(ms: number): void {
    const at = Math.floor(Math.log(Math.max(ms, leastMs) / leastMs) / step)
    const bucket = Math.min(at, most - 1)
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1
    this.#count++
    this.#least = Math.min(this.#least, ms)
    this.#most = Math.max(this.#most, ms)
  }

  /** All zero when nothing was added. */
  read(): Latencies {
    if (this.#count === 0) return { count: 0, least: 0, p50: 0, p90: 0, p99: 0, p999: 0, most: 0 }
    return {
      count: this.#count,
      least: this.#least,
      p50: this.#at(0.5),
      p90: this.#at(0.9),
      p99: this.#at(0.99),
      p999: this.#at(0.999),
      most: this.#most,
    }
  }

  #at(share: number): number {
    let left = Math.ceil(this.#count * share)
    for (const [bucket, count] of this.#buckets.entries()) {
      left -= count
      if (left > 0) continue
      const upper = leastMs * Math.exp(step * (bucket + 1))
      return Math.min(Math.max(upper, this.#least), this.#most)
    }
    return this.#most
  }
}
