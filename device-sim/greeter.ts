import { createHash } from 'node:crypto'

import { messageOf } from './errors.ts'
import { type Log, newNonce } from './update/device.ts'

export interface GreeterDeps {
  /** The first wait for an answer; doubled up to ten times that. */
  retryMs: number
  publish: (nonce: string) => Promise<void>
  /** The server knows who is here: reports may follow. */
  onGreeted: () => void
  /** The size of the transparency log as the device has seen it; 0 when it has seen none. */
  logSize: () => number
  log: Log
}

interface BundleTaker {
  takeBundle: (
    bytes: Buffer,
    nonces: readonly string[],
    past: readonly string[],
  ) => Promise<string | undefined>
}

const maxNonces = 8
const leastGapMs = 200

/**
 * Asks the server with `hello`, each time with a fresh nonce, until a bundle answers that the device accepts (updates.md
 * 2.5). Answers may cross: a nonce stays open until it or a later one is answered. What answers an earlier one after that is late, not
 * an attack, and looked at no more.
 */
export class Greeter {
  readonly #deps: GreeterDeps
  #nonces: string[] = []
  /** Asked, and needing no answer any more. */
  #past: string[] = []
  #retry: NodeJS.Timeout | undefined
  #wish: NodeJS.Timeout | undefined
  #retries = 0
  #isStarted = false
  #lastSentMs = -Infinity
  #pending: Buffer | undefined
  #isTaking = false
  #lastTaken = ''

  constructor(deps: GreeterDeps) {
    this.#deps = deps
  }

  /** On each new connection. */
  start(): void {
    this.#isStarted = true
    this.#retries = 0
    this.#lastSentMs = -Infinity
    this.greet()
  }

  stop(): void {
    this.#isStarted = false
    clearTimeout(this.#retry)
    clearTimeout(this.#wish)
  }

  /** Asks now, or right after the last time; several wishes become one. */
  greet(): void {
    if (!this.#isStarted) return
    const gapMs = this.#lastSentMs + leastGapMs - performance.now()
    clearTimeout(this.#wish)
    this.#wish = setTimeout(() => void this.#send(), Math.max(gapMs, 0))
  }

  /** A bundle has come. Only the newest that waits is taken: it holds all that the older ones do. */
  async answer(bytes: Buffer, taker: BundleTaker): Promise<void> {
    this.#pending = bytes
    if (this.#isTaking) return
    this.#isTaking = true
    try {
      while (this.#pending) {
        const next = this.#pending
        this.#pending = undefined
        await this.#take(next, taker)
      }
    } finally {
      this.#isTaking = false
    }
  }

  async #take(bytes: Buffer, taker: BundleTaker): Promise<void> {
    // QoS 1 may bring the same message twice; its nonce is used up by then.
    const digest = createHash('sha256').update(bytes).digest('hex')
    if (digest === this.#lastTaken) return
    const before = this.#deps.logSize()
    const nonce = await taker.takeBundle(bytes, this.#nonces, this.#past)
    this.#lastTaken = digest
    if (nonce === undefined) return
    const isNewest = this.#nonces.at(-1) === nonce
    this.#leave(this.#nonces.indexOf(nonce) + 1)
    this.#retries = 0
    // A wish stays: what it is about may have come after this answer was made.
    if (isNewest) return clearTimeout(this.#retry)
    // What was asked from an older head of the log is proven from that, not from the one that the device holds now.
    if (this.#deps.logSize() === before) return
    this.#leave(this.#nonces.length)
    this.greet()
  }

  /** The first so many questions need no answer any more. */
  #leave(count: number): void {
    this.#past = [...this.#past, ...this.#nonces.slice(0, count)].slice(-2 * maxNonces)
    this.#nonces = this.#nonces.slice(count)
  }

  async #send(): Promise<void> {
    if (!this.#isStarted) return
    this.#lastSentMs = performance.now()
    const nonce = newNonce()
    this.#nonces.push(nonce)
    this.#leave(Math.max(0, this.#nonces.length - maxNonces))
    const waitMs = this.#deps.retryMs * Math.min(2 ** this.#retries, 10)
    this.#retries += 1
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => void this.#send(), waitMs * (1 + Math.random() / 4))
    try {
      await this.#deps.publish(nonce)
      if (this.#isStarted) this.#deps.onGreeted()
    } catch (error) {
      this.#deps.log('hello failed', { error: messageOf(error) })
    }
  }
}
