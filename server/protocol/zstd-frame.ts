/** What the outside of one zstd frame says, without decompressing any of it. Bytes. */
export interface ZstdFrame {
  /** How much history a decoder must keep. */
  windowBytes: number
  /** Undefined when the frame does not say. */
  contentBytes: number | undefined
  /** From the magic number to the end of the last block, with the checksum when there is one. */
  frameBytes: number
}

const magic = 0xfd_2f_b5_28
const maxBlockBytes = 131_072

/**
 * Walks through the headers of the first frame in `bytes` (RFC 8878 section 3.1.1). Undefined for what is no whole frame: another
 * magic number (skippable frames have one of their own), a dictionary id, a reserved bit or block type, a cut. What comes behind
 * the frame is not looked at: compare `frameBytes`, because Node decodes the first frame and is silent about the rest.
 */
export function inspectFrame(bytes: Buffer): ZstdFrame | undefined {
  try {
    return inspect(bytes)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/** Reads past the end are RangeErrors of Buffer. */
function inspect(bytes: Buffer): ZstdFrame | undefined {
  if (bytes.readUInt32LE(0) !== magic) return undefined
  const descriptor = bytes.readUInt8(4)
  const isSingle = (descriptor & 0x20) !== 0
  const hasChecksum = (descriptor & 0x04) !== 0
  if ((descriptor & 0x0b) !== 0) return undefined
  let at = 5
  const windowBytes = isSingle ? undefined : windowOf(bytes.readUInt8(at++))
  const { contentBytes, length } = contentOf(bytes, at, { flag: descriptor >> 6, isSingle })
  at += length
  for (let isLast = false; !isLast;) {
    const header = bytes.readUIntLE(at, 3)
    isLast = (header & 1) !== 0
    const type = (header >> 1) & 3
    const size = header >> 3
    if (type === 3 || size > maxBlockBytes) return undefined
    at += 3 + (type === 1 ? 1 : size)
  }
  if (hasChecksum) at += 4
  if (at > bytes.length) return undefined
  return { windowBytes: windowBytes ?? contentBytes ?? 0, contentBytes, frameBytes: at }
}

function windowOf(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3))
  return base + (base / 8) * (descriptor & 7)
}

function contentOf(
  bytes: Buffer,
  at: number,
  { flag, isSingle }: { flag: number; isSingle: boolean },
): { contentBytes: number | undefined; length: number } {
  switch (flag) {
    case 0:
      return isSingle
        ? { contentBytes: bytes.readUInt8(at), length: 1 }
        : { contentBytes: undefined, length: 0 }
    case 1:
      return { contentBytes: bytes.readUInt16LE(at) + 256, length: 2 }
    case 2:
      return { contentBytes: bytes.readUInt32LE(at), length: 4 }
    default:
      return { contentBytes: Number(bytes.readBigUInt64LE(at)), length: 8 }
  }
}
