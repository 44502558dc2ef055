import { isAscii } from 'node:buffer'

import { PkiError } from '../errors.ts'
import { tags } from './tags.ts'
import { decodeTime } from './time.ts'

/** Longest OBJECT IDENTIFIER content; the longest one in use in certificates has 13 octets. */
const maxOidBytes = 64
const maxOidArcs = 32
/** Largest arc: what a double holds exactly. Far above any registered arc. */
const maxOidArc = Number.MAX_SAFE_INTEGER

/** X.690 §8.3: an INTEGER has content, and its first nine bits are not all equal. */
export function checkInteger(buffer: Buffer, start: number, end: number, offset: number): void {
  const first = start < end ? buffer[start] : undefined
  if (first === undefined) throw new PkiError('der', 'INTEGER without content', offset)
  const second = start + 1 < end ? buffer[start + 1] : undefined
  if (second === undefined) return
  const isPadded = (first === 0x00 && second < 0x80) || (first === 0xff && second >= 0x80)
  if (isPadded) throw new PkiError('der', 'INTEGER is not minimal', offset)
}

/** X.690 §11.1: TRUE is FF, FALSE is 00. */
export function decodeBoolean(content: Buffer, offset: number): boolean {
  const [value] = content
  if (content.length !== 1 || (value !== 0x00 && value !== 0xff)) {
    throw new PkiError('der', 'BOOLEAN must be 00 or FF', offset)
  }
  return value === 0xff
}

export interface BitString {
  readonly unusedBits: number
  readonly bytes: Buffer
}

/** X.690 §11.2.1: unused bits are zero. */
function checkBitString(buffer: Buffer, start: number, end: number, offset: number): void {
  const unusedBits = start < end ? buffer[start] : undefined
  if (unusedBits === undefined || unusedBits > 7) {
    throw new PkiError('der', 'BIT STRING with a bad count of unused bits', offset)
  }
  const last = start + 1 < end ? buffer[end - 1] : undefined
  if (last === undefined) {
    if (unusedBits !== 0) throw new PkiError('der', 'Empty BIT STRING with unused bits', offset)
  } else if ((last & ((1 << unusedBits) - 1)) !== 0) {
    throw new PkiError('der', 'BIT STRING whose unused bits are not zero', offset)
  }
}

export function decodeBitString(
  buffer: Buffer,
  start: number,
  end: number,
  offset: number,
): BitString {
  checkBitString(buffer, start, end, offset)
  return { unusedBits: buffer[start] ?? 0, bytes: buffer.subarray(start + 1, end) }
}

/**
 * X.690 §11.2.2: a named bit list (keyUsage, reason flags) has no trailing zero bits. Gives the bit
 * numbers that are set, ascending.
 */
export function namedBits(value: BitString, offset: number): number[] {
  const last = value.bytes.at(-1)
  if (last !== undefined && (last & (1 << value.unusedBits)) === 0) {
    throw new PkiError('der', 'Named bit list with trailing zero bits', offset)
  }
  if (value.bytes.length > 4) throw new PkiError('der', 'Named bit list is too long', offset)
  const bits: number[] = []
  for (const [index, byte] of value.bytes.entries()) {
    for (let bit = 0; bit < 8; bit += 1) if (byte & (0x80 >> bit)) bits.push(index * 8 + bit)
  }
  return bits
}

/** Dotted text of short object identifiers by their content: the first that were read are nearly all that ever are. */
const known = new Map<string, string>()
const maxKnown = 256
const maxKnownBytes = 16

/** X.690 §8.19 to dotted text. Arcs must be minimal, at most 32 of them, each below 2^53. */
export function decodeOid(
  buffer: Buffer,
  offset: number,
  start: number = 0,
  end: number = buffer.length,
): string {
  const isShort = end - start <= maxKnownBytes
  const name = isShort ? buffer.toString('latin1', start, end) : ''
  const before = known.get(name)
  if (before !== undefined) return before
  const dotted = dottedText(buffer, start, end, offset)
  if (isShort && known.size < maxKnown) known.set(name, dotted)
  return dotted
}

function dottedText(buffer: Buffer, start: number, end: number, offset: number): string {
  if (start >= end || end - start > maxOidBytes) {
    throw new PkiError('der', 'OBJECT IDENTIFIER is empty or too long', offset)
  }
  const arcs: number[] = []
  let arc = 0
  let isStart = true
  for (let at = start; at < end; at++) {
    const byte = buffer[at] ?? 0
    if (isStart && byte === 0x80) throw new PkiError('der', 'OID arc is not minimal', offset)
    if (arc > (maxOidArc - 127) / 128) throw new PkiError('der', 'OID arc is too large', offset)
    arc = arc * 128 + (byte & 0x7f)
    isStart = byte < 0x80
    if (!isStart) continue
    if (arcs.length === 0) {
      const root = Math.min(2, Math.floor(arc / 40))
      arcs.push(root, arc - root * 40)
    } else {
      arcs.push(arc)
    }
    arc = 0
  }
  if (!isStart) throw new PkiError('der', 'OID ends inside an arc', offset)
  if (arcs.length > maxOidArcs) throw new PkiError('der', 'OID has too many arcs', offset)
  return arcs.join('.')
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const printable = /^[A-Za-z0-9 '()+,\-./:=?]*$/
const numeric = /^[0-9 ]*$/

/**
 * Decodes the content of a character string type and checks it against the type's repertoire.
 * Throws PkiError `der` for characters the type does not have and for other tags.
 */
export function decodeString(tag: number, content: Buffer, offset: number): string {
  switch (tag) {
    case tags.utf8String:
      return decodeUtf8(content, offset)
    case tags.printableString:
      return matching(printable, content, 'PrintableString', offset)
    case tags.numericString:
      return matching(numeric, content, 'NumericString', offset)
    case tags.ia5String:
      return matching(/^\p{ASCII}*$/u, content, 'IA5String', offset)
    case tags.visibleString:
      return matching(/^[\x20-\x7e]*$/, content, 'VisibleString', offset)
    case tags.teletexString:
      return content.toString('latin1')
    case tags.bmpString:
      if (content.length % 2 !== 0) throw new PkiError('der', 'BMPString of odd length', offset)
      return Buffer.from(content).swap16().toString('utf16le')
    default:
      throw new PkiError('der', `Tag ${tag} is not a character string`, offset)
  }
}

function decodeUtf8(content: Buffer, offset: number): string {
  // Of ASCII both are the same text.
  if (isAscii(content)) return content.toString('latin1')
  try {
    return utf8.decode(content)
  } catch (error) {
    throw new PkiError('der', 'UTF8String is not UTF-8', offset, { cause: error })
  }
}

function matching(pattern: RegExp, content: Buffer, type: string, offset: number): string {
  const text = content.toString('latin1')
  if (!pattern.test(text)) throw new PkiError('der', `${type} with foreign characters`, offset)
  return text
}

/** Checks the content of one primitive element of a universal type. */
export function checkPrimitive(
  tag: number,
  buffer: Buffer,
  { start: offset, contentStart: start, end }: { start: number; contentStart: number; end: number },
): void {
  switch (tag) {
    case tags.boolean:
      decodeBoolean(buffer.subarray(start, end), offset)
      return
    case tags.integer:
    case tags.enumerated:
      checkInteger(buffer, start, end, offset)
      return
    case tags.bitString:
      checkBitString(buffer, start, end, offset)
      return
    case tags.octetString:
      return
    case tags.null:
      if (start !== end) throw new PkiError('der', 'NULL with content', offset)
      return
    case tags.oid:
      decodeOid(buffer, offset, start, end)
      return
    case tags.utcTime:
    case tags.generalizedTime:
      decodeTime(tag, buffer.subarray(start, end), offset)
      return
    default:
      // Character strings; anything else is refused in there.
      decodeString(tag, buffer.subarray(start, end), offset)
  }
}
