import { ByteBudget } from './byte-budget.ts'

/** A piece of memory, counted against the budget until it is given back. */
export interface Block {
  buffer: Buffer
  /** `reuse` only when nothing reads from the buffer any more. Again changes nothing. */
  release: (reuse?: 'reuse') => void
}

const maxIdle = 32

/** The one pool of a process: HTTPS and MQTT downloads share its bound (updates.md section 6). */
export function createDownloadPool(): BlockPool {
  return new BlockPool(downloadBounds.blockBytes, downloadBounds)
}

/** Bytes read and not yet taken by a socket, and blocks that wait for such bytes. */
export const downloadBounds = {
  blockBytes: 256 * 1024,
  maxBytes: 64 * 1024 * 1024,
  maxWaiting: 4_096,
} as const

/**
 * The memory that downloads read into: bounded in all by the budget, and the usual size is used again. A request
 * that waits for its turn holds none of it.
 */
export class BlockPool {
  readonly #budget: ByteBudget
  readonly #blockBytes: number
  readonly #idle: Buffer[] = []

  constructor(blockBytes: number, bounds: { maxBytes: number; maxWaiting: number }) {
    this.#blockBytes = blockBytes
    this.#budget = new ByteBudget(bounds)
  }

  /** At most the pool's block size. Waits and refuses as ByteBudget.claim does. */
  async claim(bytes: number, patience: { timeoutMs: number; signal: AbortSignal }): Promise<Block> {
    const giveBack = await this.#budget.claim(bytes, patience)
    const usual = bytes === this.#blockBytes
    const buffer = (usual ? this.#idle.pop() : undefined) ?? Buffer.allocUnsafeSlow(bytes)
    let held = true
    return {
      buffer,
      release: (reuse) => {
        if (!held) return
        held = false
        if (reuse && usual && this.#idle.length < maxIdle) this.#idle.push(buffer)
        giveBack()
      },
    }
  }
}
