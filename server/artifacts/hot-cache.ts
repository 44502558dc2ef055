import type { HeldBytes, OpenArtifact } from './storage.ts'

interface CachedBlock {
  buffer: Buffer
  /** The whole block, or undefined when the file gave less: then nothing of it is kept. */
  loading: Promise<boolean>
  /** Sockets that are sent from it, and who waits for it. */
  users: number
  usedAt: number
  /** A socket that was closed in the middle may have part of it still: never filled with other bytes. */
  isLost: boolean
}

export interface HotCacheOptions {
  blockBytes: number
  maxBlocks: number
  /** So long after its last use a block is not given up for another: a file larger than the cache does not push out itself. */
  freshMs: number
  /** How long after a download ended another of the same file counts as one of several. */
  latelyMs: number
  /** Files of which that is known. */
  maxFiles: number
  /** Milliseconds that never go back. */
  now: () => number
}

const defaults: HotCacheOptions = {
  blockBytes: 1024 * 1024,
  maxBlocks: 64,
  freshMs: 5_000,
  latelyMs: 60_000,
  maxFiles: 256,
  now: () => performance.now(),
}

/**
 * What several devices download at about the same time, in memory: read once from the disk and sent to each without a copy. At most
 * `maxBlocks` blocks, those being sent or read from the disk among them; the one used longest ago makes room. The bytes under a hash never change, so
 * nothing here grows old.
 */
export class HotCache {
  readonly #options: HotCacheOptions
  /** In order of last use. */
  readonly #blocks = new Map<string, CachedBlock>()
  /** In order of last use: how many read it, and when the last one ended. */
  readonly #files = new Map<string, { readers: number; endedAt: number | undefined }>()

  constructor(options: Partial<HotCacheOptions> = {}) {
    this.#options = { ...defaults, ...options }
  }

  /** How many blocks it holds. */
  get size(): number {
    return this.#blocks.size
  }

  /**
   * The same artifact, with `hold` for what is hot. Disposing it disposes `artifact`.
   *
   * @param sha256 of its bytes
   */
  wrap(sha256: string, artifact: OpenArtifact): OpenArtifact {
    const isLate = this.#begin(sha256)
    let isOpen = true
    return {
      size: artifact.size,
      read: artifact.read,
      hold: async (position) =>
        isLate || (this.#files.get(sha256)?.readers ?? 0) > 1
          ? await this.#hold(sha256, artifact, position)
          : undefined,
      [Symbol.asyncDispose]: async () => {
        if (isOpen) this.#end(sha256)
        isOpen = false
        await artifact[Symbol.asyncDispose]()
      },
    }
  }

  #begin(sha256: string): boolean {
    const { maxFiles, latelyMs, now } = this.#options
    const file = this.#files.get(sha256) ?? { readers: 0, endedAt: undefined }
    file.readers++
    this.#files.delete(sha256)
    this.#files.set(sha256, file)
    if (this.#files.size > maxFiles) {
      // Without one that nobody reads there are as many requests as files, and those are bounded.
      for (const [name, { readers }] of this.#files) {
        if (readers > 0) continue
        this.#files.delete(name)
        break
      }
    }
    return file.endedAt !== undefined && now() - file.endedAt <= latelyMs
  }

  #end(sha256: string): void {
    const file = this.#files.get(sha256)
    if (!file) return
    file.readers--
    file.endedAt = this.#options.now()
  }

  async #hold(
    sha256: string,
    artifact: OpenArtifact,
    position: number,
  ): Promise<HeldBytes | undefined> {
    const { blockBytes, now } = this.#options
    const index = Math.floor(position / blockBytes)
    const start = index * blockBytes
    const length = Math.min(blockBytes, artifact.size - start)
    if (position >= artifact.size) return undefined
    const key = `${sha256} ${index}`
    const known = this.#blocks.get(key)
    const block = known ?? this.#load(key, { artifact, start, length })
    if (!block) return undefined
    block.users++
    block.usedAt = now()
    this.#blocks.delete(key)
    this.#blocks.set(key, block)
    let isHeld = true
    const release = (reuse?: 'reuse') => {
      if (!isHeld) return
      isHeld = false
      block.users--
      if (!reuse) block.isLost = true
    }
    try {
      if (await block.loading) {
        const bytes = block.buffer.subarray(position - start, length)
        return { bytes, isHit: known !== undefined, release }
      }
    } catch (error) {
      this.#forget(key, block)
      release()
      throw error
    }
    this.#forget(key, block)
    release()
    return undefined
  }

  /** Undefined when there is no room: all are in use, or were a moment ago. */
  #load(
    key: string,
    { artifact, start, length }: { artifact: OpenArtifact; start: number; length: number },
  ): CachedBlock | undefined {
    const buffer = this.#room()
    if (!buffer) return undefined
    const loading = fill(buffer.subarray(0, length), artifact, start)
    const block: CachedBlock = {
      buffer,
      loading,
      users: 0,
      usedAt: this.#options.now(),
      isLost: false,
    }
    this.#blocks.set(key, block)
    return block
  }

  /** Memory for a block: new, or that of the one that was used longest ago and that nobody is sent from. */
  #room(): Buffer | undefined {
    const { blockBytes, maxBlocks, freshMs, now } = this.#options
    if (this.#blocks.size < maxBlocks) return Buffer.allocUnsafeSlow(blockBytes)
    for (const [key, { users, usedAt, buffer, isLost }] of this.#blocks) {
      if (now() - usedAt < freshMs) return undefined
      if (users > 0) continue
      this.#blocks.delete(key)
      return isLost ? Buffer.allocUnsafeSlow(blockBytes) : buffer
    }
    return undefined
  }

  #forget(key: string, block: CachedBlock): void {
    if (this.#blocks.get(key) === block) this.#blocks.delete(key)
  }
}

/** Whether it could be filled from `start` on. */
async function fill(buffer: Buffer, artifact: OpenArtifact, start: number): Promise<boolean> {
  for (let done = 0; done < buffer.length;) {
    const left = buffer.length - done
    const got = await artifact.read(buffer.subarray(done), start + done, left)
    if (got === 0) return false
    done += got
  }
  return true
}
