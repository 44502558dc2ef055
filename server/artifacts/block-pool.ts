import { ByteBudget } from './byte-budget.ts'

/** A piece of memory, counted against the budget until it is given back. */
export interface Block {
  /** There from when it is first asked for: who sends bytes that are in memory already needs only the count. */
  readonly buffer: Buffer
  /** `reuse` only when nothing reads from the buffer any more. Again changes nothing. */
  release: (reuse?: 'reuse') => void
}

/** Of memory that waits to be used again. */
const maxIdleBytes = 8 * 1024 * 1024

/** The one pool of a process: HTTPS and MQTT downloads share its bound (updates.md section 6). */
export function createDownloadPool(): BlockPool {
  return new BlockPool(downloadBounds.blockBytes, downloadBounds)
}

/** Bytes read and not yet taken by a socket, and blocks that wait for such bytes. */
export const downloadBounds = {
  /** The largest: each read costs a turn of a thread, so few large ones cost less than many small ones. */
  blockBytes: 1024 * 1024,
  maxBytes: 64 * 1024 * 1024,
  maxWaiting: 4_096,
} as const

/**
 * The memory that downloads read into: bounded in all by the budget, and the usual sizes (the largest, its half and its
 * quarter) are used again. A request that waits for its turn holds none of it.
 */
export class BlockPool {
  readonly #budget: ByteBudget
  readonly #blockBytes: number
  readonly #idle: Buffer[] = []
  #idleBytes = 0

  constructor(blockBytes: number, bounds: { maxBytes: number; maxWaiting: number }) {
    this.#blockBytes = blockBytes
    this.#budget = new ByteBudget(bounds)
  }

  /** Whether blocks may be large: half of the bytes are free, and nobody waits. */
  get isRoomy(): boolean {
    return this.#budget.isRoomy
  }

  /** At most the pool's block size. Waits and refuses as ByteBudget.claim does. */
  async claim(bytes: number, patience: { timeoutMs: number; signal: AbortSignal }): Promise<Block> {
    const giveBack = await this.#budget.claim(bytes, patience)
    const take = () => this.#take(bytes)
    let buffer: Buffer | undefined
    let held = true
    return {
      get buffer() {
        return (buffer ??= take())
      },
      release: (reuse) => {
        if (!held) return
        held = false
        if (reuse && buffer) this.#keep(buffer)
        giveBack()
      },
    }
  }

  #take(bytes: number): Buffer {
    const at = this.#idle.findLastIndex(({ length }) => length === bytes)
    const [buffer] = at < 0 ? [] : this.#idle.splice(at, 1)
    if (!buffer) return Buffer.allocUnsafeSlow(bytes)
    this.#idleBytes -= bytes
    return buffer
  }

  #keep(buffer: Buffer): void {
    const isUsual = [1, 2, 4].some((part) => buffer.length * part === this.#blockBytes)
    if (!isUsual || this.#idleBytes + buffer.length > maxIdleBytes) return
    this.#idle.push(buffer)
    this.#idleBytes += buffer.length
  }
}
