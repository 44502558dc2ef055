import { promisify } from 'node:util'
import { inflate, zstdDecompress } from 'node:zlib'

import { type ImageBytes, ImageError, readAt } from './source.ts'

const superblockBytes = 96
const metadataBytes = 8_192
/** Of the root folder's listing; a RAUC bundle has a few files. */
const mostListingBytes = 1024 * 1024
const mostFragments = 1_000_000
const none = 0xffff_ffff

/** Whether a file begins like a squashfs (little endian, as all since version 4.0). */
export function looksLikeSquashfs(head: Buffer): boolean {
  return head.toString('latin1', 0, 4) === 'hsqs'
}

/** How many bytes the file system takes up, from its superblock. Throws ImageError `other` for another format. */
export async function squashfsBytes(source: ImageBytes): Promise<number> {
  return (await readSuperblock(source)).bytesUsed
}

/**
 * One file of the root folder of a squashfs 4.0, in memory, reading no more of the image than is needed for it.
 *
 * @throws ImageError `other`, `damaged`, or `unreadable` for compressions that are not at hand here (xz, lzo, lz4, lzma)
 */
export async function readSquashfsFile(
  source: ImageBytes,
  name: string,
  { maxBytes }: { maxBytes: number },
): Promise<Buffer> {
  const reader = new Squashfs(source, await readSuperblock(source))
  const at = await reader.findInRoot(name)
  if (!at) throw new ImageError('damaged', `There is no ${name} in the image`)
  return await reader.contentOf(at, name, maxBytes)
}

interface Superblock {
  blockSize: number
  compression: number
  root: Reference
  bytesUsed: number
  inodeTable: number
  directoryTable: number
  fragmentTable: number
  fragments: number
}

/** Where something is in a table of metadata blocks: the block's position in it, and the offset when unpacked. */
interface Reference {
  block: number
  offset: number
}

async function readSuperblock(source: ImageBytes): Promise<Superblock> {
  if (source.size < superblockBytes) throw new ImageError('other', 'This is no squashfs')
  const block = await readAt(source, 0, superblockBytes)
  if (!looksLikeSquashfs(block)) throw new ImageError('other', 'This is no squashfs')
  const [major, blockSize] = [block.readUInt16LE(28), block.readUInt32LE(12)]
  if (major !== 4) throw new ImageError('unreadable', `It is a squashfs of version ${major}`)
  const isPowerOf2 = (blockSize & (blockSize - 1)) === 0
  if (!isPowerOf2 || blockSize < 4_096 || blockSize > 1_048_576) {
    throw new ImageError('damaged', 'The squashfs has blocks of a size that is not allowed')
  }
  const root = block.readBigUInt64LE(32)
  const bytesUsed = position(block, 40)
  if (bytesUsed > source.size) throw new ImageError('damaged', 'The squashfs is cut off')
  return {
    blockSize,
    compression: block.readUInt16LE(20),
    root: { block: Number(root >> 16n), offset: Number(root & 0xffffn) },
    bytesUsed,
    inodeTable: position(block, 64),
    directoryTable: position(block, 72),
    fragmentTable: position(block, 80),
    fragments: block.readUInt32LE(16),
  }
}

function position(bytes: Buffer, offset: number): number {
  const value = bytes.readBigUInt64LE(offset)
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value)
}

class Squashfs {
  readonly #source: ImageBytes
  readonly #super: Superblock

  constructor(source: ImageBytes, superblock: Superblock) {
    this.#source = source
    this.#super = superblock
  }

  async findInRoot(name: string): Promise<Reference | undefined> {
    const { root, inodeTable, directoryTable } = this.#super
    const type = (await this.#metadata(inodeTable, root, 2)).readUInt16LE(0)
    if (type !== 1 && type !== 8) throw new ImageError('damaged', 'The root is no folder')
    const isBasic = type === 1
    const inode = await this.#metadata(inodeTable, root, isBasic ? 32 : 40)
    const size = (isBasic ? inode.readUInt16LE(24) : inode.readUInt32LE(20)) - 3
    if (size <= 0) return undefined
    if (size > mostListingBytes) throw new ImageError('damaged', 'The root folder is too large')
    const at = isBasic
      ? { block: inode.readUInt32LE(16), offset: inode.readUInt16LE(26) }
      : { block: inode.readUInt32LE(24), offset: inode.readUInt16LE(34) }
    return entryIn(await this.#metadata(directoryTable, at, size), name)
  }

  async contentOf(at: Reference, name: string, maxBytes: number): Promise<Buffer> {
    const { blockSize, inodeTable } = this.#super
    const type = (await this.#metadata(inodeTable, at, 2)).readUInt16LE(0)
    if (type !== 2 && type !== 9) throw new ImageError('damaged', `${name} is no plain file`)
    const isBasic = type === 2
    const headBytes = isBasic ? 32 : 56
    const head = await this.#metadata(inodeTable, at, headBytes)
    const size = isBasic ? head.readUInt32LE(28) : position(head, 24)
    if (size > maxBytes) throw new ImageError('damaged', `${name} has more than ${maxBytes} bytes`)
    const fragment = head.readUInt32LE(isBasic ? 20 : 44)
    const fragmentOffset = head.readUInt32LE(isBasic ? 24 : 48)
    const count = fragment === none ? Math.ceil(size / blockSize) : Math.floor(size / blockSize)
    const inode = await this.#metadata(inodeTable, at, headBytes + count * 4)
    const pieces: Buffer[] = []
    let start = isBasic ? head.readUInt32LE(16) : position(head, 16)
    for (let n = 0; n < count; n++) {
      const field = inode.readUInt32LE(headBytes + n * 4)
      pieces.push(await this.#block(start, field, Math.min(blockSize, size - n * blockSize)))
      start += field & 0xff_ffff
    }
    if (fragment !== none) {
      const rest = size - count * blockSize
      const block = await this.#fragment(fragment)
      pieces.push(block.subarray(fragmentOffset, fragmentOffset + rest))
    }
    const content = Buffer.concat(pieces)
    if (content.length !== size) throw new ImageError('damaged', `${name} is cut off`)
    return content
  }

  async #fragment(number: number): Promise<Buffer> {
    const { fragments, fragmentTable, blockSize } = this.#super
    if (number >= fragments || fragments > mostFragments) {
      throw new ImageError('damaged', 'There is no such fragment')
    }
    const pointer = await readAt(this.#source, fragmentTable + Math.floor(number / 512) * 8, 8)
    const at = { block: 0, offset: (number % 512) * 16 }
    const entry = await this.#metadata(position(pointer, 0), at, 16)
    return await this.#block(position(entry, 0), entry.readUInt32LE(8), blockSize)
  }

  async #block(start: number, field: number, maxBytes: number): Promise<Buffer> {
    const length = field & 0xff_ffff
    // A block of nothing but zeros takes no room.
    if (length === 0) return Buffer.alloc(maxBytes)
    if (length > this.#super.blockSize) throw new ImageError('damaged', 'A block is too large')
    const packed = await readAt(this.#source, start, length)
    return (field & 0x100_0000) === 0 ? await this.#unpack(packed, maxBytes) : packed
  }

  /** Bytes of a table, over as many metadata blocks as they span. */
  async #metadata(table: number, { block, offset }: Reference, length: number): Promise<Buffer> {
    const pieces: Buffer[] = []
    let at = table + block
    let skip = offset
    for (let found = 0; found < length;) {
      const head = (await readAt(this.#source, at, 2)).readUInt16LE(0)
      const size = head & 0x7fff
      if (size === 0 || size > metadataBytes) throw damagedTable()
      const packed = await readAt(this.#source, at + 2, size)
      const bytes = (head & 0x8000) === 0 ? await this.#unpack(packed, metadataBytes) : packed
      const piece = bytes.subarray(skip, skip + length - found)
      if (piece.length === 0) throw damagedTable()
      // All but the last of a table are full: a million blocks of a byte each would be read for minutes.
      if (found + piece.length < length && bytes.length !== metadataBytes) throw damagedTable()
      pieces.push(piece)
      found += piece.length
      skip = 0
      at += 2 + size
    }
    return Buffer.concat(pieces)
  }

  async #unpack(packed: Buffer, maxOutputLength: number): Promise<Buffer> {
    const unpack = unpackers.get(this.#super.compression)
    if (!unpack) {
      const name = names.get(this.#super.compression) ?? 'a way that is not known'
      throw new ImageError('unreadable', `The squashfs is compressed with ${name}`)
    }
    try {
      return await unpack(packed, maxOutputLength)
    } catch (cause) {
      throw new ImageError('damaged', 'A block cannot be unpacked', undefined, { cause })
    }
  }
}

function damagedTable(): ImageError {
  return new ImageError('damaged', 'A table of the squashfs is damaged')
}

/** Where the inode of an entry of a folder's listing is. */
function entryIn(listing: Buffer, name: string): Reference | undefined {
  for (let at = 0; at + 12 <= listing.length;) {
    const count = listing.readUInt32LE(at) + 1
    const block = listing.readUInt32LE(at + 4)
    if (count > 256) throw new ImageError('damaged', 'The root folder is damaged')
    at += 12
    for (let n = 0; n < count; n++) {
      if (at + 8 > listing.length) throw new ImageError('damaged', 'The root folder is damaged')
      const length = listing.readUInt16LE(at + 6) + 1
      const found = listing.toString('latin1', at + 8, at + 8 + length)
      if (found === name) return { block, offset: listing.readUInt16LE(at) }
      at += 8 + length
    }
  }
  return undefined
}

const names = new Map([
  [2, 'lzma'],
  [3, 'lzo'],
  [4, 'xz'],
  [5, 'lz4'],
])

const [inflateAsync, zstdAsync] = [promisify(inflate), promisify(zstdDecompress)]
type Unpack = (packed: Buffer, maxOutputLength: number) => Promise<Buffer>
const unpackers = new Map<number, Unpack>([
  [1, async (packed, maxOutputLength) => await inflateAsync(packed, { maxOutputLength })],
  [6, async (packed, maxOutputLength) => await zstdAsync(packed, { maxOutputLength })],
])
