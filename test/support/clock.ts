import type { Clock } from '../../server/clock.ts'

/** A clock that tests move. Starts at the real time, so that certificates and TLS agree with it. */
export class TestClock implements Clock {
  #now: Date
  constructor(start: Date | string = new Date()) {
    this.#now = new Date(start)
  }
  now() {
    return this.#now
  }
  advance({ seconds }: { seconds: number }) {
    this.#now = new Date(this.#now.getTime() + seconds * 1000)
  }
}
