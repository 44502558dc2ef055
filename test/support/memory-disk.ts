import { createHash } from 'node:crypto'

import type { Disk } from '../../device-sim/disk.ts'

/** The plug is pulled: this call and every later one of this life fails. */
export class PowerCut extends Error {
  override readonly name = 'PowerCut'
}

/** What becomes of what was not made durable: lost, kept, every other sector of it, the first half, or sectors by chance. */
export type Loss = 'drop' | 'keep' | 'tear' | 'half' | 'random'
export const losses: readonly Loss[] = ['drop', 'keep', 'tear', 'half', 'random']

interface Inode {
  bytes: Buffer
  durable: Buffer
}

const sector = 512
/** Less than any boot record's text, so that what is there is neither the old one nor the new one. */
const tornBytes = 100

/**
 * A disk that forgets: bytes without `fsync` and names without `fsyncDir` may be lost at a power cut. Every call that
 * changes something is a numbered point at which the plug can be pulled.
 */
export class MemoryDisk implements Disk {
  calls = 0
  /** The call at which the plug is pulled; none when undefined. */
  cutAt: number | undefined
  #isOff = false
  #names = new Map<string, Inode>()
  #durableNames = new Map<string, Inode>()
  #counters: Record<string, number> = {}

  /** The same disk again, for another life that begins like this one. */
  clone(): MemoryDisk {
    const disk = new MemoryDisk()
    for (const [name, { bytes, durable }] of this.#names) disk.#names.set(name, { bytes, durable })
    disk.#durableNames = new Map(disk.#names)
    disk.#counters = { ...this.#counters }
    return disk
  }

  /** Power comes back. `seed` decides what is lost by chance, so that a failure can be repeated. */
  restart(loss: Loss, seed = 0): void {
    const isKept = loss === 'keep' || (loss === 'random' && sectorSurvives(seed, -1))
    const names = isKept ? this.#names : this.#durableNames
    this.#names = new Map(names)
    this.#durableNames = new Map(names)
    for (const inode of new Set(names.values())) {
      inode.bytes = remains(inode, loss, seed)
      inode.durable = inode.bytes
    }
    this.#isOff = false
    this.cutAt = undefined
  }

  async read(name: string, maxBytes: number): Promise<Buffer | undefined> {
    this.#live()
    const bytes = this.#names.get(name)?.bytes
    if (bytes && bytes.length > maxBytes) throw new Error('too long')
    return bytes && Buffer.from(bytes)
  }

  async size(name: string): Promise<number | undefined> {
    this.#live()
    return this.#names.get(name)?.bytes.length
  }

  async *chunks(name: string): AsyncIterable<Buffer> {
    this.#live()
    const bytes = this.#names.get(name)?.bytes
    if (bytes) yield Buffer.from(bytes)
  }

  async readAt(name: string, position: number, length: number): Promise<Buffer> {
    this.#live()
    const bytes = this.#names.get(name)?.bytes ?? Buffer.alloc(0)
    return Buffer.from(bytes.subarray(position, position + length))
  }

  async list(): Promise<string[]> {
    this.#live()
    return [...this.#names.keys()]
  }

  async write(name: string, bytes: Buffer): Promise<void> {
    this.#pointAmid(() => void (this.#inode(name).bytes = Buffer.from(bytes)))
  }

  async writeAt(name: string, bytes: Buffer, position: number): Promise<void> {
    this.#pointAmid(() => {
      const inode = this.#inode(name)
      inode.bytes = overwritten(inode.bytes, bytes, position)
    })
  }

  async fsync(name: string): Promise<void> {
    this.#point()
    const inode = this.#existing(name)
    inode.durable = inode.bytes
  }

  async rename(from: string, to: string): Promise<void> {
    this.#point()
    this.#names.set(to, this.#existing(from))
    this.#names.delete(from)
  }

  async remove(name: string): Promise<void> {
    this.#point()
    this.#names.delete(name)
  }

  async fsyncDir(): Promise<void> {
    this.#point()
    this.#durableNames = new Map(this.#names)
  }

  async setBootFlag(name: string, record: Buffer): Promise<void> {
    const inode = this.#inode(name)
    try {
      this.#point()
    } catch (error) {
      // Pulled while the record is being written: the front of it is there.
      if (this.cutAt === this.calls) {
        inode.bytes = overwritten(inode.bytes, record.subarray(0, tornBytes), 0)
        inode.durable = inode.bytes
      }
      throw error
    }
    inode.bytes = overwritten(inode.bytes, record, 0)
    inode.durable = inode.bytes
  }

  async burnCounter(component: string, value: number): Promise<void> {
    this.#point()
    this.#counters = {
      ...this.#counters,
      [component]: Math.max(value, this.#counters[component] ?? 0),
    }
  }

  async counters(): Promise<Record<string, number>> {
    this.#live()
    return { ...this.#counters }
  }

  /** For a test that changes what is stored behind the device's back. */
  spoil(name: string): void {
    const inode = this.#existing(name)
    const bytes = Buffer.from(inode.bytes)
    bytes[0] = (bytes[0] ?? 0) ^ 1
    inode.bytes = bytes
    inode.durable = bytes
  }

  #live(): void {
    if (this.#isOff) throw new PowerCut('off')
  }

  #point(): void {
    this.#live()
    this.calls += 1
    if (this.calls !== this.cutAt) return
    this.#isOff = true
    throw new PowerCut(`cut at call ${this.calls}`)
  }

  /** Pulled in the middle of a write: it is there, not durable, and torn as the loss has it. */
  #pointAmid(work: () => void): void {
    this.#live()
    work()
    this.#point()
  }

  #inode(name: string): Inode {
    const inode = this.#names.get(name) ?? { bytes: Buffer.alloc(0), durable: Buffer.alloc(0) }
    this.#names.set(name, inode)
    return inode
  }

  #existing(name: string): Inode {
    const inode = this.#names.get(name)
    if (!inode) throw new Error(`No file ${name}`)
    return inode
  }
}

function overwritten(bytes: Buffer, change: Buffer, position: number): Buffer {
  const result = Buffer.alloc(Math.max(bytes.length, position + change.length))
  bytes.copy(result)
  change.copy(result, position)
  return result
}

function remains({ bytes, durable }: Inode, loss: Loss, seed: number): Buffer {
  switch (loss) {
    case 'drop':
      return durable
    case 'keep':
      return bytes
    case 'half':
      return mixed({ bytes, durable }, (at) => at < bytes.length / 2)
    case 'tear':
      return mixed({ bytes, durable }, (at) => (at / sector) % 2 === 0)
    case 'random':
      return mixed({ bytes, durable }, (at) => sectorSurvives(seed, at))
    default:
      return loss satisfies never
  }
}

/** The new bytes where the sector made it, the durable ones or nothing elsewhere. */
function mixed({ bytes, durable }: Inode, survives: (at: number) => boolean): Buffer {
  const result = Buffer.alloc(bytes.length)
  durable.copy(result)
  for (let at = 0; at < bytes.length; at += sector) {
    if (survives(at)) bytes.copy(result, at, at, at + sector)
  }
  return result
}

function sectorSurvives(seed: number, at: number): boolean {
  return (createHash('sha256').update(`${seed} ${at}`).digest()[0] ?? 0) < 128
}
