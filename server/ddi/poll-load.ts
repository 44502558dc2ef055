import { TokenBucket } from '../mqtt/token-bucket.ts'

/** Polls a second that one process takes without asking anybody to come less often. */
const targetPerSecond = 2_000
/** Devices a second that it reads from the database, and so many at once. */
const readsPerSecond = 2_000
const readsAtOnce = 4_000
const mostStretch = 8
/** Over which polls are counted. */
const windowMs = 10_000
const retrySeconds = { least: 30, most: 90 }

/**
 * How busy polls keep this process. Above the target, devices that nothing waits for are told to sleep longer, spread over that time; who
 * has to be read when too many have is refused, which costs least. An answer from memory is given always: it costs no more than a refusal.
 */
export class PollLoad {
  readonly #monotonicMs: () => number
  readonly #reads: TokenBucket
  readonly #target: number
  #count = 0
  #atMs: number
  #refused = 0

  constructor({
    monotonicMs = () => performance.now(),
    target = targetPerSecond,
    reads = readsPerSecond,
    atOnce = readsAtOnce,
  }: { monotonicMs?: () => number; target?: number; reads?: number; atOnce?: number } = {}) {
    this.#monotonicMs = monotonicMs
    this.#target = target
    this.#reads = new TokenBucket(reads, atOnce, monotonicMs)
    this.#atMs = monotonicMs()
  }

  /** A device polls. */
  arrive(): void {
    this.#count = this.#decayed() + 1
    this.#atMs = this.#monotonicMs()
  }

  /** Polls a second, lately. */
  rate(): number {
    return (this.#decayed() / windowMs) * 1_000
  }

  /** By how much those sleep longer for whom nothing waits; 1 up to 8. */
  stretch(): number {
    return Math.min(mostStretch, Math.max(1, this.rate() / this.#target))
  }

  /** May another device be read now? */
  mayRead(): boolean {
    return this.#reads.take()
  }

  /** Seconds after which who was refused may come again, not all at the same time. No client of these heeds it; another may. */
  retryAfterSeconds(): number {
    const { least, most } = retrySeconds
    this.#refused = (this.#refused + 1) % (most - least + 1)
    return least + this.#refused
  }

  #decayed(): number {
    return this.#count * Math.exp((this.#atMs - this.#monotonicMs()) / windowMs)
  }
}
