import { TokenBucket } from '../mqtt/token-bucket.ts'

const perSecond = 1
/** Zephyr's client comes back after each answer without sleeping. */
const burst = 30
const most = 50_000

/** Polls of one device, and nothing else of it: whoever is refused a feedback says the same again for ever (ddi.md §7.9). */
export class PollLimit {
  readonly #buckets = new Map<string, TokenBucket>()

  take(deviceId: string): boolean {
    const bucket = this.#buckets.get(deviceId) ?? new TokenBucket(perSecond, burst)
    // The longest silent are forgotten first; they start again with a full bucket.
    this.#buckets.delete(deviceId)
    this.#buckets.set(deviceId, bucket)
    const [oldest] = this.#buckets.keys()
    if (this.#buckets.size > most && oldest !== undefined) this.#buckets.delete(oldest)
    return bucket.take()
  }
}
