import { randomBytes } from 'node:crypto'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'

import type pg from 'pg'

/**
 * Proof that notifications arrive: one that this process sends to itself and waits for. It goes the way of all others, through the
 * database's queue and back over this connection, so a connection that still answers statements and is told nothing is found out as well
 * as one that is cut without a word. The channel is this process's own: no other is told of it.
 */
export class BusPing {
  readonly channel = `fleetseal_ping_${randomBytes(16).toString('hex')}`
  readonly #answerMs: number
  #nonce = ''
  #heard = () => {}

  constructor(answerMs: number) {
    this.#answerMs = answerMs
  }

  /** A notification on `channel`. Late answers to earlier pings prove nothing. */
  hear(nonce: string): void {
    if (nonce === this.#nonce) this.#heard()
  }

  /** Sends one, and says whether it came back in time. Never rejects. */
  async isAnswered(client: pg.Client): Promise<boolean> {
    this.#nonce = randomBytes(8).toString('hex')
    const { promise: heard, resolve } = Promise.withResolvers<boolean>()
    this.#heard = () => resolve(true)
    const over = new AbortController()
    client
      .query('select pg_notify($1, $2)', [this.channel, this.#nonce])
      .catch(() => resolve(false))
    try {
      return await Promise.race([heard, this.#late(heard, over.signal)])
    } finally {
      over.abort()
    }
  }

  async #late(heard: Promise<boolean>, signal: AbortSignal): Promise<boolean> {
    await sleep(this.#answerMs, undefined, { signal }).catch(() => {})
    // After this process itself stood still, timers are due before what has arrived meanwhile was read.
    for (let n = 0; n < 2; n++) await turn()
    return await Promise.race([heard, turn(false)])
  }
}
