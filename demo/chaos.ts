import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import type { ServerProcess } from './server-process.ts'

const restartMs = 20_000

/** Kills the server at random moments, as often as asked, and starts it again on the same data each time. */
export class Chaos {
  readonly #server: ServerProcess
  readonly #say: (line: string) => void
  #left: number
  #stop: AbortController | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(server: ServerProcess, kills: number, say: (line: string) => void) {
    this.#server = server
    this.#left = kills
    this.#say = say
  }

  /** Time that the kills still to come may cost. */
  get extraMs(): number {
    return this.#left * restartMs
  }

  /** Begins, with at most `kills` of what is left; nothing happens when none is. */
  start(kills = this.#left): void {
    this.#stop = new AbortController()
    this.#running = this.#loop(Math.min(kills, this.#left), this.#stop.signal)
  }

  /** No more kills; resolves when the server is up. */
  async stop(): Promise<void> {
    this.#stop?.abort()
    await this.#running
  }

  async #loop(kills: number, signal: AbortSignal): Promise<void> {
    for (let left = kills; left > 0 && !signal.aborted; left--) {
      await sleep(randomInt(150, 2_500), undefined, { signal }).catch(() => {})
      if (signal.aborted) return
      this.#left -= 1
      this.#say('  ! kill -9 of the server')
      await this.#server.kill()
      await this.#server.start()
      this.#say('  ! the server is back')
    }
  }
}
