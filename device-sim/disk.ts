import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { DeviceError } from './errors.ts'

/**
 * All that a device keeps goes through this one interface, so that a test can pull the plug before and after every call
 * (updates.md section 8, power loss). Names are flat; nothing is durable before `fsync` and, for names, `fsyncDir`.
 */
export interface Disk {
  /** The whole file, or undefined when there is none. Throws DiskError when it is longer than `maxBytes`. */
  read(name: string, maxBytes: number): Promise<Buffer | undefined>
  /** In bytes; undefined when there is none. */
  size(name: string): Promise<number | undefined>
  /** The file in pieces of at most 256 kB. */
  chunks(name: string): AsyncIterable<Buffer>
  /** Up to `length` bytes from `position` on; fewer only at the end of the file, none when there is no file. */
  readAt(name: string, position: number, length: number): Promise<Buffer>
  list(): Promise<string[]>
  /** Makes or replaces a file. */
  write(name: string, bytes: Buffer): Promise<void>
  /** Writes into a file at `position`, making it when there is none. */
  writeAt(name: string, bytes: Buffer, position: number): Promise<void>
  fsync(name: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  remove(name: string): Promise<void>
  fsyncDir(): Promise<void>
  /** Overwrites one copy of a boot record in place, durably; a power cut may tear it. */
  setBootFlag(name: string, record: Buffer): Promise<void>
  /** Raises a counter in one-time-programmable memory, durably; it cannot fall. */
  burnCounter(component: string, value: number): Promise<void>
  counters(): Promise<Record<string, number>>
}

export class DiskError extends Error {
  override readonly name = 'DiskError'
}

const pieceBytes = 262_144
const maxCounterBytes = 16_384
const maxFiles = 1_000
const enrollAdvice = 'Run: npm run device -- enroll'
const counterFile = 'fuses.json'

/** Replaces a file so that after a power cut there is the old one or the new one, whole. */
export async function replaceFile(disk: Disk, name: string, bytes: Buffer): Promise<void> {
  const temporary = `${name}.new`
  await disk.write(temporary, bytes)
  await disk.fsync(temporary)
  await disk.rename(temporary, name)
  await disk.fsyncDir()
}

/** Removes a file for good. */
export async function removeFile(disk: Disk, name: string): Promise<void> {
  if ((await disk.size(name)) === undefined) return
  await disk.remove(name)
  await disk.fsyncDir()
}

/** Real files in one directory that only its owner can enter (0700, files 0600). */
export class FileDisk implements Disk {
  readonly #dir: string

  private constructor(dir: string) {
    this.#dir = dir
  }

  /** Makes the directory when there is none. Throws DeviceError when others can enter it. */
  static async open(dir: string): Promise<FileDisk> {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    return await FileDisk.existing(dir)
  }

  /** Of a device that was enrolled. Throws DeviceError when there is no such directory or others can enter it. */
  static async existing(dir: string): Promise<FileDisk> {
    const found = await stat(dir).catch(() => undefined)
    if (!found?.isDirectory()) {
      throw new DeviceError('not-enrolled', `There is no device in ${dir}`, enrollAdvice)
    }
    if ((found.mode & 0o077) !== 0) {
      throw new DeviceError('damaged', `${dir} can be entered by others`, `Run: chmod 700 ${dir}`)
    }
    return new FileDisk(dir)
  }

  async read(name: string, maxBytes: number): Promise<Buffer | undefined> {
    const file = await this.#openExisting(name)
    if (!file) return undefined
    try {
      const { size } = await file.stat()
      if (size > maxBytes) throw new DiskError(`${name} is longer than ${maxBytes} bytes`)
      return await file.readFile()
    } finally {
      await file.close()
    }
  }

  async size(name: string): Promise<number | undefined> {
    try {
      return (await stat(this.#path(name))).size
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  async *chunks(name: string): AsyncIterable<Buffer> {
    const file = await this.#openExisting(name)
    if (!file) return
    try {
      const buffer = Buffer.allocUnsafe(pieceBytes)
      for (let at = 0; ;) {
        const { bytesRead } = await file.read(buffer, 0, pieceBytes, at)
        if (bytesRead === 0) return
        at += bytesRead
        yield buffer.subarray(0, bytesRead)
      }
    } finally {
      await file.close()
    }
  }

  async readAt(name: string, position: number, length: number): Promise<Buffer> {
    const file = await this.#openExisting(name)
    if (!file) return Buffer.alloc(0)
    try {
      const buffer = Buffer.allocUnsafe(length)
      let done = 0
      for (let got = -1; got !== 0 && done < length; done += got) {
        got = (await file.read(buffer, done, length - done, position + done)).bytesRead
      }
      return buffer.subarray(0, done)
    } finally {
      await file.close()
    }
  }

  async list(): Promise<string[]> {
    const names = await readdir(this.#dir)
    if (names.length > maxFiles) throw new DiskError(`${this.#dir} holds too many files`)
    return names
  }

  async write(name: string, bytes: Buffer): Promise<void> {
    const file = await open(this.#path(name), 'w', 0o600)
    try {
      await file.writeFile(bytes)
    } finally {
      await file.close()
    }
  }

  async writeAt(name: string, bytes: Buffer, position: number): Promise<void> {
    const file = await open(this.#path(name), constants.O_RDWR | constants.O_CREAT, 0o600)
    try {
      for (let done = 0; done < bytes.length;) {
        const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
        done += bytesWritten
      }
    } finally {
      await file.close()
    }
  }

  async fsync(name: string): Promise<void> {
    const file = await open(this.#path(name), 'r+')
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await rename(this.#path(from), this.#path(to))
  }

  async remove(name: string): Promise<void> {
    await rm(this.#path(name), { force: true })
  }

  async fsyncDir(): Promise<void> {
    const directory = await open(this.#dir, 'r')
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  }

  async setBootFlag(name: string, record: Buffer): Promise<void> {
    await this.writeAt(name, record, 0)
    await this.fsync(name)
  }

  async burnCounter(component: string, value: number): Promise<void> {
    const counters = await this.counters()
    if (value <= (counters[component] ?? 0)) return
    const raised = { ...counters, [component]: value }
    await replaceFile(this, counterFile, Buffer.from(JSON.stringify(raised)))
  }

  async counters(): Promise<Record<string, number>> {
    const bytes = await this.read(counterFile, maxCounterBytes)
    return bytes ? readCounters(bytes) : {}
  }

  #path(name: string): string {
    if (!/^[A-Za-z0-9][A-Za-z0-9%._-]{0,159}$/.test(name)) throw new DiskError('Not a file name')
    return join(this.#dir, name)
  }

  async #openExisting(name: string) {
    try {
      return await open(this.#path(name), 'r')
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }
}

/** A name for something that is to exist only once. */
export function uniqueName(prefix: string): string {
  return `${prefix}-${randomBytes(8).toString('hex')}`
}

function readCounters(bytes: Buffer): Record<string, number> {
  const value: unknown = JSON.parse(bytes.toString('utf8'))
  if (typeof value !== 'object' || value === null) throw new DiskError('The counters are damaged')
  const entries = Object.entries(value)
  if (!entries.every(([, count]) => Number.isSafeInteger(count) && count >= 0)) {
    throw new DiskError('The counters are damaged')
  }
  return Object.fromEntries(entries)
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
