import { z } from 'zod'

/**
 * Downloads over MQTT for devices that have only that port (updates.md section 6): a device asks on `get` for some blocks
 * of one file, the server answers each on `chunk` with a binary frame; QoS 0 both ways. What is lost is asked for again.
 */
export const maxRequestBytes = 512
export const minBlockBytes = 1_024
export const maxBlockBytes = 131_072
/** Blocks asked for at once, times their size. */
export const maxAskedBytes = 131_072
/** Blocks that a bitmap can speak of. */
export const maxBitmapBlocks = 256
export const frameHeaderBytes = 10
/** Hex digits of the file's SHA-256 that name it in a request. */
export const nameDigits = 32

const frameVersion = 1
const lastFlag = 1
const refusedFlag = 2
const retryFlag = 4
const maxBlockNumber = 0xff_ff_ff_ff

const BlockSize = z
  .int()
  .min(minBlockBytes)
  .max(maxBlockBytes)
  .refine((size) => (size & (size - 1)) === 0, 'a power of two')

/** From block `o` on: `n` of them, or those that the bitmap `b` says. */
export interface AskedBlocks {
  o: number
  n?: number | undefined
  b?: string | undefined
}

/** `f` file, `l` bytes of a block, `o` first block; then `n` how many, or `b` which of the next 256. */
export const ChunkRequest = z
  .strictObject({
    f: z.string().regex(/^[0-9a-f]{32}$/),
    l: BlockSize,
    o: z.int().min(0).max(maxBlockNumber),
    n: z
      .int()
      .min(1)
      .max(maxAskedBytes / minBlockBytes)
      .optional(),
    b: z
      .string()
      .regex(/^([0-9a-f]{2}){1,32}$/)
      .optional(),
  })
  .refine(({ n, b }) => (n === undefined) !== (b === undefined), 'either n or b')
  .refine((request) => {
    const count = blocksOf(request).length
    return count > 0 && count * request.l <= maxAskedBytes
  }, `1 to ${maxAskedBytes} bytes`)
export type ChunkRequest = z.infer<typeof ChunkRequest>

/** The request in a payload of at most 512 bytes; undefined when it is none. */
export function parseChunkRequest(payload: Buffer): ChunkRequest | undefined {
  if (payload.length > maxRequestBytes) return undefined
  try {
    const parsed = ChunkRequest.safeParse(JSON.parse(payload.toString('utf8')))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}

/**
 * The block numbers that a request asks for, rising; at most 256. Read from the left, bit i of the bitmap stands for block `o` + i.
 */
export function blocksOf({ o, n, b }: AskedBlocks): number[] {
  if (b === undefined) return Array.from({ length: n ?? 0 }, (_, i) => o + i)
  const bits = Buffer.from(b, 'hex')
  return Array.from({ length: bits.length * 8 }, (_, i) => i)
    .filter((i) => ((bits[i >> 3] ?? 0) & (0x80 >> (i & 7))) !== 0)
    .map((i) => o + i)
}

/**
 * What to ask for to get these blocks: a row by its length, others by a bitmap.
 *
 * @param blocks rising, at least one, spread over at most 256
 */
export function askFor(blocks: readonly number[]): AskedBlocks {
  const first = blocks[0] ?? 0
  const span = (blocks.at(-1) ?? 0) - first + 1
  if (span === blocks.length) return { o: first, n: span }
  if (span > maxBitmapBlocks) throw new RangeError(`At most ${maxBitmapBlocks} blocks of a file`)
  const bits = Buffer.alloc(Math.ceil(span / 8))
  for (const block of blocks) {
    const i = block - first
    bits[i >> 3] = (bits[i >> 3] ?? 0) | (0x80 >> (i & 7))
  }
  return { o: first, b: bits.toString('hex') }
}

/** Why a request is refused. A device cannot tell a file that is not there from one that is not for it, until it has a right to it. */
export const chunkRefusals = ['not-allowed', 'not-found', 'bad-range'] as const
export type ChunkRefusal = (typeof chunkRefusals)[number]

/** A frame, without the file it belongs to. */
export type Chunk =
  | { kind: 'data'; block: number; isLast: boolean; payload: Buffer }
  | { kind: 'refused'; block: number; code: ChunkRefusal }
  | { kind: 'retry'; block: number; seconds: number }

/**
 * Writes the header of a data frame into the first ten bytes of `frame`, whose rest is the block already.
 *
 * @param file SHA-256 of the file, or what the request had of it, hex
 */
export function writeDataHeader(
  frame: Buffer,
  { file, block, isLast }: { file: string; block: number; isLast: boolean },
): void {
  writeHeader(frame, { file, block, flags: isLast ? lastFlag : 0 })
}

export function refusedFrame(file: string, block: number, code: ChunkRefusal): Buffer {
  const frame = Buffer.alloc(frameHeaderBytes + code.length)
  writeHeader(frame, { file, block, flags: refusedFlag })
  frame.write(code, frameHeaderBytes, 'latin1')
  return frame
}

export function retryFrame(file: string, block: number, seconds: number): Buffer {
  const frame = Buffer.alloc(frameHeaderBytes + 2)
  writeHeader(frame, { file, block, flags: retryFlag })
  frame.writeUInt16BE(Math.min(Math.max(Math.ceil(seconds), 0), 0xffff), frameHeaderBytes)
  return frame
}

/**
 * Takes a frame apart. Undefined when it is none, or is about another file than `file` (its SHA-256, hex); the payload is a view into
 * `frame`.
 */
export function parseChunk(frame: Buffer, file: string): Chunk | undefined {
  if (frame.length < frameHeaderBytes || frame.length > frameHeaderBytes + maxBlockBytes) {
    return undefined
  }
  if (frame[0] !== frameVersion || frame.toString('hex', 2, 6) !== file.slice(0, 8)) {
    return undefined
  }
  const flags = frame[1] ?? 0
  const block = frame.readUInt32BE(6)
  const payload = frame.subarray(frameHeaderBytes)
  switch (flags) {
    case 0:
    case lastFlag:
      return { kind: 'data', block, isLast: flags === lastFlag, payload }
    case refusedFlag: {
      const code = chunkRefusals.find((known) => known === payload.toString('latin1'))
      return code && { kind: 'refused', block, code }
    }
    case retryFlag:
      return payload.length === 2
        ? { kind: 'retry', block, seconds: payload.readUInt16BE(0) }
        : undefined
    default:
      return undefined
  }
}

function writeHeader(
  frame: Buffer,
  { file, block, flags }: { file: string; block: number; flags: number },
): void {
  frame[0] = frameVersion
  frame[1] = flags
  frame.write(file.slice(0, 8), 2, 4, 'hex')
  frame.writeUInt32BE(block, 6)
}
