/** Reads one stretch of a file: exactly `length` bytes from `start`. */
export type Fetch = (start: number, length: number) => Promise<Buffer>

const defaults = { blockBytes: 1024 * 1024, maxBlocks: 64 }

/**
 * Blocks of files that are far away, whoever reads them: the many devices of a rollout read the same ones at about the same
 * time, and each is fetched once for all of them. At most `maxBlocks` are held, those read last; one that is being
 * fetched counts too.
 */
export class ReadAhead {
  readonly #blockBytes: number
  readonly #maxBlocks: number
  /** In order of last use. */
  readonly #blocks = new Map<string, Promise<Buffer>>()

  constructor({ blockBytes, maxBlocks } = defaults) {
    this.#blockBytes = blockBytes
    this.#maxBlocks = maxBlocks
  }

  get held(): number {
    return this.#blocks.size
  }

  /**
   * Up to `length` bytes at `position` of the file `name` of `size` bytes into the start of `buffer`; gives how many, 0 at the
   * end. What it throws is what `fetch` throws; the next read asks again.
   */
  async read(
    file: { name: string; size: number; fetch: Fetch },
    buffer: Buffer,
    { position, length }: { position: number; length: number },
  ): Promise<number> {
    const end = Math.min(file.size, position + Math.min(length, buffer.length))
    let done = 0
    while (position + done < end) {
      const at = position + done
      const index = Math.floor(at / this.#blockBytes)
      const block = await this.#block(file, index)
      const offset = at - index * this.#blockBytes
      done += block.copy(buffer, done, offset, Math.min(block.length, offset + end - at))
    }
    return done
  }

  async #block(
    { name, size, fetch }: { name: string; size: number; fetch: Fetch },
    index: number,
  ): Promise<Buffer> {
    const key = `${name} ${index}`
    const start = index * this.#blockBytes
    const block = this.#blocks.get(key) ?? fetch(start, Math.min(this.#blockBytes, size - start))
    this.#blocks.delete(key)
    this.#blocks.set(key, block)
    const [oldest] = this.#blocks.keys()
    if (this.#blocks.size > this.#maxBlocks && oldest !== undefined) this.#blocks.delete(oldest)
    try {
      return await block
    } catch (error) {
      if (this.#blocks.get(key) === block) this.#blocks.delete(key)
      throw error
    }
  }
}
