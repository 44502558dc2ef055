import { DomainError } from '../errors.ts'

interface Waiter {
  bytes: number
  admit: () => void
}

/**
 * Bounds the bytes that are read from disk and not yet taken by a socket, over all requests of this process
 * (updates.md section 6). First come, first served: a large claim is not overtaken by small ones.
 */
export class ByteBudget {
  readonly #maxBytes: number
  readonly #maxWaiting: number
  readonly #waiting: Waiter[] = []
  #used = 0

  constructor({ maxBytes, maxWaiting }: { maxBytes: number; maxWaiting: number }) {
    this.#maxBytes = maxBytes
    this.#maxWaiting = maxWaiting
  }

  get usedBytes(): number {
    return this.#used
  }

  /** Half of it is free, and nobody waits. */
  get isRoomy(): boolean {
    return this.#waiting.length === 0 && this.#used * 2 <= this.#maxBytes
  }

  /**
   * Waits at most `timeoutMs` for `bytes`, and gives what returns them (once, however often it is called).
   * Throws DomainError `busy` when too many wait already, or the wait is over, or `signal` aborts.
   */
  async claim(
    bytes: number,
    { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
  ): Promise<() => void> {
    if (this.#waiting.length > 0 || this.#used + bytes > this.#maxBytes) {
      await this.#wait(bytes, { timeoutMs, signal })
    } else {
      this.#used += bytes
    }
    let held = true
    return () => {
      if (!held) return
      held = false
      this.#used -= bytes
      this.#admit()
    }
  }

  async #wait(
    bytes: number,
    { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
  ): Promise<void> {
    if (this.#waiting.length >= this.#maxWaiting || signal.aborted) throw busy()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiter = { bytes, admit: resolve }
    const giveUp = () => {
      const at = this.#waiting.indexOf(waiter)
      if (at < 0) return
      this.#waiting.splice(at, 1)
      reject(busy())
      this.#admit()
    }
    const timer = setTimeout(giveUp, timeoutMs)
    signal.addEventListener('abort', giveUp, { once: true })
    this.#waiting.push(waiter)
    try {
      await promise
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', giveUp)
    }
  }

  #admit(): void {
    for (
      let next = this.#waiting[0];
      next && this.#used + next.bytes <= this.#maxBytes;
      next = this.#waiting[0]
    ) {
      // Counted here, not when the waiter runs again: another claim may come in between.
      this.#used += next.bytes
      this.#waiting.shift()
      next.admit()
    }
  }
}

function busy(): DomainError {
  return new DomainError('busy', 'Too many downloads at once; try again later')
}
