/** What is wrong with an image, in words for whoever made it; `at` says where in its description. */
export class ImageError extends Error {
  override readonly name = 'ImageError'
  /**
   * `unreadable` is honest ignorance: the image may be good, and nothing here can look into it. `other` is a file of another format.
   */
  readonly code: 'other' | 'damaged' | 'unreadable'
  readonly at: { line: number; column: number } | undefined

  constructor(
    code: ImageError['code'],
    message: string,
    at?: { line: number; column: number },
    options?: ErrorOptions,
  ) {
    super(at ? `line ${at.line}, column ${at.column}: ${message}` : message, options)
    this.code = code
    this.at = at
  }
}

/** Bytes that can be read anywhere: a file, or an artifact of the store. */
export interface ImageBytes {
  /** Bytes. */
  readonly size: number
  /** Fills the buffer's beginning from `position`; gives how many it read, 0 at the end. */
  read: (buffer: Buffer, position: number, length: number) => Promise<number>
}

/** Exactly these bytes. Throws ImageError `damaged` where the file ends before. */
export async function readAt(
  source: ImageBytes,
  position: number,
  length: number,
): Promise<Buffer> {
  if (position < 0 || length < 0 || position + length > source.size) {
    throw new ImageError('damaged', `The file ends before byte ${position + length}`)
  }
  const bytes = Buffer.alloc(length)
  let done = 0
  while (done < length) {
    const read = await source.read(bytes.subarray(done), position + done, length - done)
    if (read <= 0) throw new ImageError('damaged', 'The file ends too early')
    done += read
  }
  return bytes
}

const pieceBytes = 262_144

/** Those bytes in pieces of at most 256 KiB, in order. */
export async function* piecesOf(
  source: ImageBytes,
  position: number,
  length: number,
): AsyncGenerator<Buffer> {
  for (let done = 0; done < length; done += pieceBytes) {
    yield await readAt(source, position + done, Math.min(pieceBytes, length - done))
  }
}

/** Bytes in memory as a source. */
export function bytesSource(bytes: Buffer): ImageBytes {
  return {
    size: bytes.length,
    read: async (buffer, position, length) =>
      await Promise.resolve(
        bytes.copy(buffer, 0, position, Math.min(bytes.length, position + length)),
      ),
  }
}
