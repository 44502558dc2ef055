import { type FileHandle, open } from 'node:fs/promises'

import type { OpenArtifact } from './storage.ts'

interface Entry {
  handle: Promise<FileHandle>
  users: number
}

/**
 * One descriptor a file, whoever reads it. At most `maxIdle` stay open without a reader, the last used ones; those in use
 * are bounded by the number of requests.
 */
export class HandleCache implements AsyncDisposable {
  readonly #maxIdle: number
  /** In order of last use. */
  readonly #entries = new Map<string, Entry>()

  constructor(maxIdle = 64) {
    this.#maxIdle = maxIdle
  }

  async open(path: string): Promise<OpenArtifact | undefined> {
    const entry = this.#take(path)
    let handle: FileHandle
    let size: number
    try {
      handle = await entry.handle
      ;({ size } = await handle.stat())
    } catch (error) {
      this.#entries.delete(path)
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      throw error
    }
    let open = true
    return {
      size,
      read: async (buffer, position, length) =>
        (await handle.read(buffer, 0, Math.min(length, buffer.length), position)).bytesRead,
      [Symbol.asyncDispose]: async () => {
        if (!open) return
        open = false
        entry.users--
        await this.#trim()
      },
    }
  }

  #take(path: string): Entry {
    const entry = this.#entries.get(path) ?? { handle: open(path, 'r'), users: 0 }
    entry.users++
    this.#entries.delete(path)
    this.#entries.set(path, entry)
    return entry
  }

  async #trim(): Promise<void> {
    const idle = [...this.#entries].filter(([, entry]) => entry.users === 0)
    for (const [path, entry] of idle.slice(0, Math.max(0, idle.length - this.#maxIdle))) {
      this.#entries.delete(path)
      await close(entry)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const entries = [...this.#entries.values()]
    this.#entries.clear()
    await Promise.all(entries.map(close))
  }
}

async function close({ handle }: Entry): Promise<void> {
  await handle.then(async (open) => await open.close()).catch(() => {})
}
