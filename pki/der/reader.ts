import { PkiError } from '../errors.ts'
import { tags } from './tags.ts'
import { decodeCertificateTime, decodeTime } from './time.ts'
import type { BitString } from './values.ts'
import { checkInteger, decodeBitString, decodeBoolean, decodeOid, decodeString } from './values.ts'

export const maxDerBytes = 65_536
export const maxDerDepth = 32
/** Certificates, requests and their parts fit in two length octets; only a CRL needs more. */
const maxLengthOctets = 4

/** One tag-length-value as offsets into the buffer that holds it. */
export interface Tlv {
  readonly tag: number
  readonly start: number
  readonly contentStart: number
  readonly end: number
}

/**
 * X.690 §8.1 with the DER restrictions of §10.1: one tag octet, definite and minimal length.
 * `end` bounds the element; one that reaches past it is refused.
 */
export function readHeader(buffer: Buffer, start: number, end: number): Tlv {
  const element = { tag: 0, start: 0, contentStart: 0, end: 0 }
  readHeaderInto(element, buffer, start, end)
  return element
}

/** `readHeader` for a walk over many elements, which does not keep them. */
export function readHeaderInto(
  element: { -readonly [K in keyof Tlv]: Tlv[K] },
  buffer: Buffer,
  start: number,
  end: number,
): void {
  const tag = start < end ? buffer[start] : undefined
  if (tag === undefined) throw new PkiError('der', 'An element is missing', start)
  if ((tag & 0x1f) === 0x1f) throw new PkiError('der', 'High tag numbers are refused', start)
  if (tag === 0) throw new PkiError('der', 'Tag 0 is refused', start)
  let at = start + 1
  let length = at < end ? buffer[at] : undefined
  if (length === undefined) throw new PkiError('der', 'Length is missing', start)
  at += 1
  if (length >= 0x80) {
    const octets = length & 0x7f
    if (octets === 0) throw new PkiError('der', 'Indefinite length', start)
    if (octets > maxLengthOctets || at + octets > end) {
      throw new PkiError('der', 'Length reaches past the end', start)
    }
    length = buffer.readUIntBE(at, octets)
    at += octets
    // Minimal: the long form only from 128, and no leading zero octet.
    if (length < 0x80 || length < 2 ** (8 * (octets - 1))) {
      throw new PkiError('der', 'Length is not minimal', start)
    }
  }
  if (length > end - at) throw new PkiError('der', 'Length reaches past the end', start)
  element.tag = tag
  element.start = start
  element.contentStart = at
  element.end = at + length
}

export interface ReaderBounds {
  maxBytes?: number
  start?: number
  end?: number
  depth?: number
}

/**
 * A cursor over one level of DER. It reads straight from the buffer and builds no tree; `enter` gives a
 * cursor over the inside of an element, and every level ends with `finish`, which refuses what is left.
 * Every method throws PkiError `der` with an offset into the buffer given at the start.
 */
export class DerReader {
  readonly buffer: Buffer
  readonly #end: number
  readonly #depth: number
  #at: number

  constructor(buffer: Buffer, bounds: ReaderBounds = {}) {
    const { maxBytes = maxDerBytes, start = 0, end = buffer.length, depth = 0 } = bounds
    if (end - start > maxBytes) throw new PkiError('der', `More than ${maxBytes} bytes`, start)
    if (depth > maxDerDepth) throw new PkiError('der', 'Nested too deep', start)
    this.buffer = buffer
    this.#at = start
    this.#end = end
    this.#depth = depth
  }

  get offset(): number {
    return this.#at
  }

  isDone(): boolean {
    return this.#at >= this.#end
  }

  /** The next tag, or undefined at the end of this level. */
  peek(): number | undefined {
    return this.isDone() ? undefined : this.buffer[this.#at]
  }

  next(tag?: number): Tlv {
    const element = readHeader(this.buffer, this.#at, this.#end)
    if (tag !== undefined && element.tag !== tag) {
      const found = `${hex(tag)} expected, ${hex(element.tag)} found`
      throw new PkiError('der', `Wrong tag: ${found}`, element.start)
    }
    this.#at = element.end
    return element
  }

  /** The next element with its header. */
  raw(tag?: number): Buffer {
    const { start, end } = this.next(tag)
    return this.buffer.subarray(start, end)
  }

  /** The content of the next element. */
  content(tag: number): Buffer {
    const { contentStart, end } = this.next(tag)
    return this.buffer.subarray(contentStart, end)
  }

  enter(tag: number): DerReader {
    return this.inside(this.next(tag))
  }

  enterOptional(tag: number): DerReader | undefined {
    return this.peek() === tag ? this.enter(tag) : undefined
  }

  /** A cursor over the inside of an element of this level. */
  inside(element: Tlv): DerReader {
    return new DerReader(this.buffer, {
      maxBytes: Number.MAX_SAFE_INTEGER,
      start: element.contentStart,
      end: element.end,
      depth: this.#depth + 1,
    })
  }

  finish(): void {
    if (!this.isDone()) throw new PkiError('der', 'Trailing bytes', this.#at)
  }

  /** Content octets of an INTEGER, minimal two's complement. */
  integer(tag: number = tags.integer): Buffer {
    const element = this.next(tag)
    checkInteger(this.buffer, element.contentStart, element.end, element.start)
    return this.#contentOf(element)
  }

  /** A non-negative INTEGER below 2^31. */
  smallInteger(tag: number = tags.integer): number {
    const start = this.#at
    const content = this.integer(tag)
    if (content.length > 4 || (content[0] ?? 0) >= 0x80) {
      throw new PkiError('der', 'INTEGER is negative or too large', start)
    }
    return content.readUIntBE(0, content.length)
  }

  boolean(): boolean {
    const element = this.next(tags.boolean)
    return decodeBoolean(this.#contentOf(element), element.start)
  }

  oid(tag: number = tags.oid): string {
    const { start, contentStart, end } = this.next(tag)
    return decodeOid(this.buffer, start, contentStart, end)
  }

  bitString(tag: number = tags.bitString): BitString {
    const { start, contentStart, end } = this.next(tag)
    return decodeBitString(this.buffer, contentStart, end, start)
  }

  /** A BIT STRING that holds whole octets: keys and signatures. */
  bitStringOctets(): Buffer {
    const start = this.#at
    const { unusedBits, bytes } = this.bitString()
    if (unusedBits !== 0) throw new PkiError('der', 'BIT STRING of partial octets', start)
    return bytes
  }

  /** UTCTime to 2049 or GeneralizedTime from 2050, as RFC 5280 §4.1.2.5 wants it. */
  time(): Date {
    const { tag, start, contentStart, end } = this.next()
    if (tag !== tags.utcTime && tag !== tags.generalizedTime) {
      throw new PkiError('der', 'A time is expected', start)
    }
    return decodeCertificateTime(tag, this.buffer.subarray(contentStart, end), start)
  }

  /** GeneralizedTime of any year, as OCSP has it (RFC 6960 §4.2.2.1). */
  generalizedTime(): Date {
    const { tag, start, contentStart, end } = this.next(tags.generalizedTime)
    return decodeTime(tag, this.buffer.subarray(contentStart, end), start)
  }

  /** Any character string type, with the tag it came in. */
  string(): { tag: number; value: string } {
    const { tag, start, contentStart, end } = this.next()
    return { tag, value: decodeString(tag, this.buffer.subarray(contentStart, end), start) }
  }

  #contentOf(element: Tlv): Buffer {
    return this.buffer.subarray(element.contentStart, element.end)
  }
}

function hex(tag: number): string {
  return tag.toString(16).padStart(2, '0')
}
