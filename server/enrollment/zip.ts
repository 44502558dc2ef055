import { unzipSync } from 'fflate'

import { DomainError } from '../errors.ts'

export interface ZipLimits {
  maxEntries: number
  /** Of one entry, unpacked. */
  maxEntryBytes: number
  /** Of the archive. */
  maxBytes: number
  /** Of all entries, unpacked. */
  maxTotalBytes: number
}

/** Unpacked at once, so that a large archive does not keep everything else waiting. */
const slice = 200

/**
 * The files of a ZIP archive in its order, folders left out, unpacked a few at a time. What an entry says of its size is
 * checked before anything is unpacked, and no entry is given more room than it said. Names are used for nothing but to tell entries
 * apart.
 *
 * @param chunks the archive in pieces of any size; kept in memory
 * @yields the bytes of each file; undefined for one that is larger than `maxEntryBytes`
 * @throws DomainError `too-large`, `invalid-request` for what is no such archive or is damaged
 */
export async function* readZip(
  chunks: AsyncIterable<Buffer>,
  limits: ZipLimits,
): AsyncGenerator<Buffer | undefined> {
  const archive = await collect(chunks, limits.maxBytes)
  const entries = list(archive, limits)
  for (let start = 0; start < entries.length; start += slice) {
    const part = entries.slice(start, start + slice)
    const names = new Set(part.filter(({ isTooLarge }) => !isTooLarge).map(({ name }) => name))
    const files = new Map(
      Object.entries(
        understood(() => unzipSync(archive, { filter: ({ name }) => names.has(name) })),
      ),
    )
    for (const { name, isTooLarge } of part) {
      const file = files.get(name)
      if (!file && !isTooLarge) throw damaged()
      yield file && Buffer.from(file.buffer, file.byteOffset, file.byteLength)
    }
  }
}

async function collect(chunks: AsyncIterable<Buffer>, maxBytes: number): Promise<Buffer> {
  const parts: Buffer[] = []
  let size = 0
  for await (const chunk of chunks) {
    size += chunk.length
    if (size > maxBytes) {
      throw new DomainError(
        'too-large',
        `A ZIP file has at most ${maxBytes} bytes: split it, or send CSV`,
      )
    }
    parts.push(chunk)
  }
  return Buffer.concat(parts)
}

interface Entry {
  name: string
  isTooLarge: boolean
}

/** By the directory of the archive; nothing is unpacked. */
function list(archive: Buffer, limits: ZipLimits): Entry[] {
  const { maxEntries, maxEntryBytes, maxTotalBytes } = limits
  const entries: Entry[] = []
  const names = new Set<string>()
  let total = 0
  const filter = ({ name, size, originalSize, compression }: ZipFile): false => {
    if (name.endsWith('/') && originalSize === 0) return false
    // Two of one name cannot be told apart, and one of them is `__proto__` sooner or later.
    if (names.has(name) || name === '__proto__') {
      throw new DomainError('invalid-request', 'Two files of the ZIP have the same name')
    }
    if (names.size >= maxEntries) {
      throw new DomainError('too-large', `More than ${maxEntries} files: split the ZIP`)
    }
    names.add(name)
    // Packing makes nothing much larger; what is only stored has one size.
    const isHonest = compression === 0 ? size === originalSize : size <= originalSize + 1024
    const isTooLarge = originalSize > maxEntryBytes || !isHonest
    if (!isTooLarge) total += originalSize
    if (total > maxTotalBytes) {
      throw new DomainError('too-large', `More than ${maxTotalBytes} bytes unpacked: split the ZIP`)
    }
    entries.push({ name, isTooLarge })
    return false
  }
  understood(() => unzipSync(archive, { filter }))
  return entries
}

interface ZipFile {
  name: string
  size: number
  originalSize: number
  compression: number
}

function understood<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof DomainError) throw error
    throw damaged(error)
  }
}

function damaged(cause?: unknown): DomainError {
  return new DomainError(
    'invalid-request',
    'This is no ZIP file that can be read: make it anew, without a password',
    {},
    { cause },
  )
}
