import { createHash } from 'node:crypto'

import { type CpioEntry, readCpio } from './cpio.ts'
import { type ImageBytes, ImageError, piecesOf, readAt } from './source.ts'
import { mostDescriptionBytes, readSwDescription, type SwDescription } from './sw-description.ts'

export interface SwuContents extends SwDescription {
  entries: CpioEntry[]
  /** Whether the description is signed: by whom, only a device that knows its signers can say. */
  isSigned: boolean
}

const descriptionName = 'sw-description'
export const signatureName = 'sw-description.sig'
const mostSignatureBytes = 65_536
const compressions: ReadonlySet<string> = new Set(['zlib', 'zstd', 'xz'])

/**
 * What a `.swu` says of itself: a cpio archive whose first file is its description, and whose second one, where it is signed, the
 * description's signature (SWUpdate's documentation, "Update images from verified source").
 *
 * @throws ImageError `other` for a file of another format, `damaged` for a `.swu` that no device could install
 */
export async function readSwu(source: ImageBytes): Promise<SwuContents> {
  const entries = await readCpio(source)
  const [first, second] = entries
  if (first?.name !== descriptionName) {
    throw new ImageError('damaged', `The first file of the archive is not ${descriptionName}`)
  }
  if (first.size > mostDescriptionBytes) {
    throw new ImageError(
      'damaged',
      `${descriptionName} has more than ${mostDescriptionBytes} bytes`,
    )
  }
  const names = entries.map(({ name }) => name)
  const twice = names.find((name, n) => names.indexOf(name) !== n)
  if (twice !== undefined) throw new ImageError('damaged', `${twice} is in the archive twice`)
  const isSigned = second?.name === signatureName
  if (!isSigned && names.includes(signatureName)) {
    throw new ImageError('damaged', `${signatureName} has to come right after ${descriptionName}`)
  }
  if (isSigned && second.size > mostSignatureBytes) {
    throw new ImageError('damaged', `${signatureName} has more than ${mostSignatureBytes} bytes`)
  }
  const description = readSwDescription(await readAt(source, first.position, first.size))
  for (const { filename, compressed } of description.images) {
    if (!names.includes(filename)) {
      throw new ImageError('damaged', `${filename} is described and not in the archive`)
    }
    if (compressed !== undefined && !compressions.has(compressed)) {
      throw new ImageError('damaged', `${filename} is compressed in a way that is not known`)
    }
  }
  return { ...description, entries, isSigned }
}

/**
 * Reads every image that the description names, and compares it with the SHA-256 there: a device does the same before it installs.
 *
 * @throws ImageError `damaged` with the name of the first that differs
 */
export async function verifySwuImages(source: ImageBytes, swu: SwuContents): Promise<void> {
  const known = new Map<string, string>()
  for (const { filename, sha256 } of swu.images) {
    const entry = swu.entries.find(({ name }) => name === filename)
    if (!entry || sha256 === undefined) continue
    const actual = known.get(filename) ?? (await sha256Of(source, entry))
    known.set(filename, actual)
    if (actual !== sha256) {
      throw new ImageError('damaged', `${filename} has not the SHA-256 of the description`)
    }
  }
}

async function sha256Of(source: ImageBytes, { position, size }: CpioEntry): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of piecesOf(source, position, size)) hash.update(piece)
  return hash.digest('hex')
}
