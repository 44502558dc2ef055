/** So many devices in all; who does not fit is found again by the next walk through the connected devices. */
const mostWaiting = 100_000

interface Queue {
  buckets: Map<string, number>
  /** By bucket, the first last; empty when it has to be sorted anew. */
  sorted: string[]
  /** Milliseconds since 1970. */
  notBefore: number
}

/**
 * Connected devices that a rollout would take and has no room for, in the order of their buckets. A hint: whoever is taken
 * out is judged anew. Each process has one, of its own devices.
 */
export class WaitingRoom {
  readonly #queues = new Map<string, Queue>()
  #size = 0

  get size(): number {
    return this.#size
  }

  add(rolloutId: string, deviceId: string, bucket: number): void {
    const queue = this.#queues.get(rolloutId) ?? { buckets: new Map(), sorted: [], notBefore: 0 }
    if (queue.buckets.has(deviceId) || this.#size >= mostWaiting) return
    queue.buckets.set(deviceId, bucket)
    queue.sorted = []
    this.#queues.set(rolloutId, queue)
    this.#size++
  }

  /** There is no room before that instant. */
  postpone(rolloutId: string, untilMs: number): void {
    const queue = this.#queues.get(rolloutId)
    if (queue) queue.notBefore = untilMs
  }

  /** Rollouts that devices wait for and that may have room. */
  due(nowMs: number, soonMs: number): string[] {
    return [...this.#queues]
      .filter(([, { notBefore }]) => {
        // Later than any wait: the clock was set back.
        return notBefore <= nowMs || notBefore > nowMs + soonMs
      })
      .map(([id]) => id)
  }

  /** The first `n` devices, which wait no longer. */
  take(rolloutId: string, n: number): string[] {
    const queue = this.#queues.get(rolloutId)
    if (!queue || n <= 0) return []
    if (queue.sorted.length === 0) {
      const inOrder = [...queue.buckets].toSorted(([, a], [, b]) => b - a)
      queue.sorted = inOrder.map(([id]) => id)
    }
    const first = queue.sorted.splice(-n).toReversed()
    for (const id of first) queue.buckets.delete(id)
    this.#size -= first.length
    if (queue.buckets.size === 0) this.#queues.delete(rolloutId)
    return first
  }

  /** Lets go whoever waits for another rollout than these. */
  keepOnly(rolloutIds: ReadonlySet<string>): void {
    for (const [id, { buckets }] of this.#queues) {
      if (rolloutIds.has(id)) continue
      this.#size -= buckets.size
      this.#queues.delete(id)
    }
  }
}
