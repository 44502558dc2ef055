import { randomBytes } from 'node:crypto'

import type { Part } from './range.ts'
import type { Stretch } from './send.ts'

/** A body of several parts. */
export interface Multipart {
  contentType: string
  /** Bytes of the whole body. */
  length: number
  stretches: Stretch[]
  tail: Buffer
}

/**
 * `multipart/byteranges` (RFC 9110 section 14.6) of parts that do not overlap, of an artifact of `size` bytes. The heads say what comes;
 * no more than they is held in memory.
 */
export function multipartOf(parts: readonly Part[], size: number): Multipart {
  // Random for each answer: whoever made the artifact could write one that is known before into it.
  const boundary = randomBytes(24).toString('hex')
  const stretches = parts.map(({ start, end }, index) => ({
    start,
    length: end - start + 1,
    lead: Buffer.from(
      `${index === 0 ? '' : '\r\n'}--${boundary}\r\nContent-Type: application/octet-stream\r\n` +
        `Content-Range: bytes ${start}-${end}/${size}\r\n\r\n`,
    ),
  }))
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`)
  const length = stretches.reduce((sum, one) => sum + one.lead.length + one.length, tail.length)
  return { contentType: `multipart/byteranges; boundary=${boundary}`, length, stretches, tail }
}
