import type { Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Limits } from './limits.ts'
import { Refused } from './refusal.ts'
import type { Session, Sessions } from './session.ts'

/** A few devices come back without anybody feeling it. */
const leastGapMs = 10
const lookMs = 20

/**
 * When each of so many connections is ended: one in each of as many equal parts of the time, somewhere in it, so that their devices do
 * not come back all at once.
 *
 * @returns milliseconds from now, rising, all below `forMs`
 */
export function drainPlan(
  count: number,
  forMs: number,
  random: () => number = Math.random,
): number[] {
  const longMs = Math.min(forMs, count * leastGapMs)
  return Array.from({ length: count }, (_, n) => (longMs * (n + random())) / count)
}

/**
 * Sends the devices of this process elsewhere before it stops: nobody new is let in, and who is connected is ended one after the other, each after
 * what it sent is stored and acknowledged.
 */
export class Drain {
  readonly #sessions: Sessions
  readonly #limits: Limits
  #isOn = false

  constructor(sessions: Sessions, limits: Limits) {
    this.#sessions = sessions
    this.#limits = limits
  }

  isOn = (): boolean => this.#isOn

  /** Again changes nothing. Resolves when all are told to go. */
  async run(server: Server, forMs: number): Promise<void> {
    if (this.#isOn) return
    this.#isOn = true
    // What is connected stays; with `reusePort` the next one goes to another process.
    server.close()
    const sessions = shuffled([...this.#sessions.readySessions()])
    const beganMs = performance.now()
    const ending: Promise<void>[] = []
    for (const [n, atMs] of drainPlan(sessions.length, forMs).entries()) {
      const waitMs = beganMs + atMs - performance.now()
      if (waitMs > 0) await sleep(waitMs)
      const session = sessions[n]
      if (session) ending.push(this.#end(session))
    }
    await Promise.all(ending)
  }

  async #end(session: Session): Promise<void> {
    const end = performance.now() + this.#limits.hookMs
    while (session.inFlight > 0 && performance.now() < end) await sleep(lookMs)
    this.#sessions.refuse(session, new Refused('stopping'))
    session.socket.end()
  }
}

function shuffled<T>(values: T[]): T[] {
  for (let n = values.length - 1; n > 0; n--) {
    const other = Math.floor(Math.random() * (n + 1))
    const [a, b] = [values[n], values[other]]
    if (a !== undefined && b !== undefined) [values[n], values[other]] = [b, a]
  }
  return values
}
