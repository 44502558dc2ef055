import { setTimeout as sleep } from 'node:timers/promises'

import { type Connection, filled } from './connection.ts'
import { Histogram } from './latencies.ts'
import type { Publish, Published } from './orders.ts'

const defaultTimeoutMs = 120_000
const mostMessages = 5_000_000

/** What the messages of one order became. */
class Progress {
  readonly #latencies = new Histogram()
  readonly #began = performance.now()
  readonly #expected: number
  readonly #done = Promise.withResolvers<void>()
  #acknowledged = 0
  #lastAt = performance.now()

  constructor(expected: number) {
    this.#expected = expected
  }

  acknowledged(since: number): void {
    this.#lastAt = performance.now()
    this.#latencies.add(this.#lastAt - since)
    if (++this.#acknowledged === this.#expected) this.#done.resolve()
  }

  async until(timeoutMs: number): Promise<void> {
    const abort = new AbortController()
    const late = sleep(timeoutMs, undefined, { signal: abort.signal }).catch(() => {})
    await Promise.race([this.#done.promise, late])
    abort.abort()
  }

  read(): Published {
    return {
      acknowledged: this.#acknowledged,
      failed: this.#expected - this.#acknowledged,
      latencies: this.#latencies.read(),
      ms: this.#lastAt - this.#began,
    }
  }
}

/** QoS 1 from many connections, each with its window; or all together at a pace that does not wait for answers. */
export async function publish(held: readonly Connection[], order: Publish): Promise<Published> {
  const { first = 0, connections = held.length, messages, window, perSecond } = order
  const senders = held.slice(first, first + connections)
  const expected = senders.length * messages
  if (expected === 0 || expected > mostMessages) {
    throw new Error(`${expected} messages: there are from 1 to ${mostMessages} in one order`)
  }
  const progress = new Progress(expected)
  if (perSecond === undefined) {
    for (const sender of senders) inWindow(sender, { order, window, progress })
  } else {
    void paced(senders, { order, perSecond, progress })
  }
  await progress.until(order.timeoutMs ?? defaultTimeoutMs)
  return progress.read()
}

let sent = 0

function sendOne(sender: Connection, order: Publish, acknowledged: () => void): void {
  const n = sent++
  const body = order.bodies[n % order.bodies.length] ?? ''
  const topic = order.topic.replace('{id}', sender.deviceId)
  sender.publish(topic, filled(body, sender.deviceId, n), acknowledged)
}

function inWindow(
  sender: Connection,
  { order, window, progress }: { order: Publish; window: number; progress: Progress },
): void {
  let left = order.messages
  const next = () => {
    if (left-- <= 0) return
    const began = performance.now()
    sendOne(sender, order, () => {
      progress.acknowledged(began)
      next()
    })
  }
  for (let n = 0; n < window; n++) next()
}

/** Each is due at its time; what is sent late because this process was late counts as the server's. */
async function paced(
  senders: readonly Connection[],
  { order, perSecond, progress }: { order: Publish; perSecond: number; progress: Progress },
): Promise<void> {
  const began = performance.now()
  const total = senders.length * order.messages
  for (let n = 0; n < total;) {
    const due = Math.min(total, Math.floor(((performance.now() - began) * perSecond) / 1_000))
    for (; n < due; n++) {
      const at = began + (n * 1_000) / perSecond
      const sender = senders[n % senders.length]
      if (sender) sendOne(sender, order, () => progress.acknowledged(at))
    }
    await sleep(1)
  }
}
