import { type ImageBytes, ImageError, readAt } from './source.ts'

/** A file of a cpio archive. */
export interface CpioEntry {
  name: string
  /** Bytes. */
  size: number
  /** Where its bytes begin in the archive. */
  position: number
  /** Of the crc format: the sum of its bytes modulo 2^32; undefined in the plain one. */
  sum: number | undefined
}

const headBytes = 110
const longestName = 255
export const mostEntries = 1_024
const trailer = 'TRAILER!!!'

/**
 * The files of a cpio archive in the "new" or the "new crc" format (cpio(5)), without their bytes. What follows the trailer is not
 * looked at.
 *
 * @throws ImageError `other` for what is no such archive, `damaged` for one that is cut off, too long or not well-formed
 */
export async function readCpio(source: ImageBytes): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = []
  let position = 0
  for (;;) {
    const { entry, next } = await readEntry(source, position)
    if (entry.name === trailer) return entries
    if (entries.length >= mostEntries) {
      throw new ImageError('damaged', `The archive has more than ${mostEntries} files`)
    }
    entries.push(entry)
    position = next
  }
}

/** Whether a file begins like a cpio archive of either format. */
export function looksLikeCpio(head: Buffer): boolean {
  const magic = head.toString('latin1', 0, 6)
  return magic === '070701' || magic === '070702'
}

async function readEntry(
  source: ImageBytes,
  start: number,
): Promise<{ entry: CpioEntry; next: number }> {
  const isFirst = start === 0
  if (isFirst && source.size < headBytes) throw new ImageError('other', 'This is no cpio archive')
  const head = await readAt(source, start, headBytes)
  if (!looksLikeCpio(head)) {
    throw isFirst
      ? new ImageError('other', 'This is no cpio archive')
      : new ImageError('damaged', `There is no file header at byte ${start}`)
  }
  const size = field(head, 6)
  const nameBytes = field(head, 11)
  if (nameBytes < 2 || nameBytes > longestName + 1) {
    throw new ImageError('damaged', `A file name of ${nameBytes} bytes is not allowed`)
  }
  const text = await readAt(source, start + headBytes, nameBytes)
  const name = text.toString('latin1', 0, nameBytes - 1)
  if (text[nameBytes - 1] !== 0 || !/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(name)) {
    throw new ImageError('damaged', 'A file name is not plain text')
  }
  const position = padded(start + headBytes + nameBytes)
  if (position + size > source.size) {
    throw new ImageError('damaged', `${name} is longer than what is left of the file`)
  }
  const sum = head.toString('latin1', 0, 6) === '070702' ? field(head, 12) : undefined
  return { entry: { name, size, position, sum }, next: padded(position + size) }
}

function field(head: Buffer, number: number): number {
  const text = head.toString('latin1', 6 + number * 8, 14 + number * 8)
  if (!/^[0-9A-Fa-f]{8}$/.test(text)) throw new ImageError('damaged', 'A file header is no number')
  return Number.parseInt(text, 16)
}

/** Where what comes next begins. */
export function padded(position: number): number {
  return position + ((4 - (position % 4)) % 4)
}

/** One file with its header and padding, in the format of an archive that begins with `head`. */
export function writeEntry(name: string, bytes: Buffer, head: Buffer): Buffer {
  const magic = head.toString('latin1', 0, 6)
  let sum = 0
  if (magic === '070702') for (const byte of bytes) sum = (sum + byte) >>> 0
  // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
  const fields = [0, 0o100644, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, name.length + 1, sum]
  const text = fields.map((one) => one.toString(16).padStart(8, '0')).join('')
  const start = Buffer.from(`${magic}${text}${name}\0`, 'latin1')
  const parts = [start, gap(start.length), bytes, gap(bytes.length)]
  return Buffer.concat(parts)
}

function gap(length: number): Buffer {
  return Buffer.alloc(padded(length) - length)
}
