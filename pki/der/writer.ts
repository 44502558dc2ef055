import { PkiError } from '../errors.ts'
import { constructed, primitive, tags } from './tags.ts'
import { decodeOid } from './values.ts'

/** One element: tag, definite minimal length, the parts one after the other. */
export function tlv(tag: number, ...parts: Buffer[]): Buffer {
  let length = 0
  for (const part of parts) length += part.length
  const element = Buffer.allocUnsafe(headerBytes(length) + length)
  let at = writeHeader(element, tag, length)
  for (const part of parts) at += part.copy(element, at)
  return element
}

/** Tag and length octets for `length` content bytes. */
export function header(tag: number, length: number): Buffer {
  const head = Buffer.allocUnsafe(headerBytes(length))
  writeHeader(head, tag, length)
  return head
}

function headerBytes(length: number): number {
  if (length < 0x80) return 2
  return length < 0x100 ? 3 : length < 0x1_0000 ? 4 : length < 0x100_0000 ? 5 : 6
}

/** Returns the offset behind it. */
function writeHeader(target: Buffer, tag: number, length: number): number {
  target[0] = tag
  if (length < 0x80) {
    target[1] = length
    return 2
  }
  const octets = headerBytes(length) - 2
  target[1] = 0x80 | octets
  return target.writeUIntBE(length, 2, octets)
}

export function sequence(...parts: Buffer[]): Buffer {
  return tlv(tags.sequence, ...parts)
}

/** SET OF in DER order (X.690 §11.6). */
export function setOf(...parts: Buffer[]): Buffer {
  return tlv(tags.set, ...parts.toSorted((a, b) => a.compare(b)))
}

/** `[number] EXPLICIT`, or IMPLICIT on a constructed type when given its content. */
export function contextConstructed(number: number, ...parts: Buffer[]): Buffer {
  return tlv(constructed(number), ...parts)
}

/** `[number] IMPLICIT` on a primitive type. */
export function contextPrimitive(number: number, content: Buffer): Buffer {
  return tlv(primitive(number), content)
}

/** A non-negative INTEGER from a number, a bigint, or big-endian magnitude bytes. */
export function integer(value: number | bigint | Buffer): Buffer {
  return tlv(tags.integer, Buffer.isBuffer(value) ? magnitude(value) : magnitudeOf(BigInt(value)))
}

function magnitudeOf(value: bigint): Buffer {
  if (value < 0n) throw new PkiError('der', 'Negative INTEGERs are not written')
  const digits = value.toString(16)
  return magnitude(Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex'))
}

function magnitude(bytes: Buffer): Buffer {
  let start = 0
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1
  const minimal = bytes.subarray(start)
  const [first] = minimal
  if (first === undefined) return Buffer.from([0])
  return first >= 0x80 ? Buffer.concat([Buffer.from([0]), minimal]) : minimal
}

export function enumerated(value: number): Buffer {
  return tlv(tags.enumerated, magnitudeOf(BigInt(value)))
}

export function boolean(value: boolean): Buffer {
  return tlv(tags.boolean, Buffer.from([value ? 0xff : 0x00]))
}

export function nullValue(): Buffer {
  return tlv(tags.null)
}

export function octetString(content: Buffer): Buffer {
  return tlv(tags.octetString, content)
}

/** BIT STRING of whole octets. */
export function bitString(octets: Buffer): Buffer {
  return tlv(tags.bitString, Buffer.from([0]), octets)
}

export function utf8String(text: string): Buffer {
  return tlv(tags.utf8String, Buffer.from(text, 'utf8'))
}

export function printableString(text: string): Buffer {
  if (!/^[A-Za-z0-9 '()+,\-./:=?]*$/.test(text)) {
    throw new PkiError('der', 'PrintableString with foreign characters')
  }
  return tlv(tags.printableString, Buffer.from(text, 'latin1'))
}

const oidCache = new Map<string, Buffer>()
/** More object identifiers than this library names; callers may bring a few. */
const oidCacheSize = 256

/** OBJECT IDENTIFIER from dotted text. Throws PkiError `der` unless it reads back as the same text. */
export function oid(dotted: string): Buffer {
  const cached = oidCache.get(dotted)
  if (cached) return cached
  const [root = Number.NaN, second = Number.NaN, ...rest] = dotted.split('.').map(Number)
  const content = Buffer.from([root * 40 + second, ...rest].flatMap(base128))
  if (decodeOid(content, 0) !== dotted) throw new PkiError('der', 'Not an object identifier')
  const encoded = tlv(tags.oid, content)
  if (oidCache.size < oidCacheSize) oidCache.set(dotted, encoded)
  return encoded
}

function base128(arc: number): number[] {
  if (!Number.isSafeInteger(arc) || arc < 0) throw new PkiError('der', 'Not an object identifier')
  const septets = [arc % 128]
  for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) {
    septets.unshift((rest % 128) | 0x80)
  }
  return septets
}
