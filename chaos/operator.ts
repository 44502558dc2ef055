import { setTimeout as sleep } from 'node:timers/promises'

import { probe } from '../test/support/probe.ts'
import type { RunningServer } from '../test/support/server.ts'
import type { Deed } from './plan.ts'

export interface Done extends Deed {
  deviceId: string
  /** When the server said that it is done; undefined while it has not. */
  doneMs: number | undefined
}

const lookMs = 300
const patienceMs = 90_000
const answerMs = 20_000

/**
 * Operators at work: one who looks at the list of devices all the time and notes what is wrong with the answers, and one who disables and
 * revokes, again and again until it is done.
 */
export class Operators {
  readonly #servers: readonly RunningServer[]
  /** Answers that no client should ever get. */
  readonly wrong = new Map<string, number>()
  readonly done: Done[] = []
  answered = 0
  #isOver = false
  #looking: Promise<void> = Promise.resolve()

  constructor(servers: readonly RunningServer[]) {
    this.#servers = servers
  }

  start(): void {
    this.#looking = this.#look()
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await this.#looking
  }

  async act(deed: Deed, deviceId: string): Promise<void> {
    const { action } = deed
    const path = `/api/v1/devices/${deviceId}/actions`
    const body = { action, reason: 'a fault run' }
    const done: Done = { ...deed, deviceId, doneMs: undefined }
    this.done.push(done)
    const end = performance.now() + patienceMs
    for (let turn = 0; performance.now() < end; turn++) {
      const answer = await this.#ask(turn, path, { method: 'POST', body })
      // A repetition of what was done without our hearing of it.
      if (answer === 200 || answer === 409) {
        done.doneMs = performance.now()
        return
      }
      await sleep(200)
    }
  }

  async #look(): Promise<void> {
    for (let turn = 0; !this.#isOver; turn++) {
      if ((await this.#ask(turn, '/api/v1/devices?limit=20')) === 200) this.answered++
      await sleep(lookMs)
    }
  }

  /** The status; undefined when nobody answered. */
  async #ask(
    turn: number,
    path: string,
    more?: Parameters<typeof probe>[2],
  ): Promise<number | undefined> {
    const server = this.#servers[turn % this.#servers.length]
    if (!server) return undefined
    const late = sleep(answerMs, 'late' as const, { ref: false })
    const answer = await Promise.race([probe(server, path, more).catch(() => undefined), late])
    if (answer === 'late') {
      this.#note(`no answer to ${path.replace(/[0-9a-f-]{36}/, 'ID')} within ${answerMs / 1_000} s`)
      return undefined
    }
    if (answer === undefined) return undefined
    const { status, body } = answer
    if (status >= 500 && status !== 503)
      this.#note(`${status}: ${JSON.stringify(body).slice(0, 200)}`)
    return status
  }

  #note(what: string): void {
    this.wrong.set(what, (this.wrong.get(what) ?? 0) + 1)
  }
}
