import { PkiError } from '../errors.ts'
import { maxDerDepth } from './reader.ts'
import { constructedBit, tags } from './tags.ts'
import { header } from './writer.ts'

const constructedOctetString = tags.octetString | constructedBit
const endOfContents = 0
/** Every segment costs a Buffer. */
const maxElements = 4096

interface Budget {
  elements: number
}

interface Read {
  readonly der: Buffer
  readonly end: number
}

/**
 * Rewrites BER (X.690 §8.1) as far as the CMS of Java's and Apple's SCEP clients goes: indefinite and long-winded lengths become
 * minimal, and an OCTET STRING in segments becomes one. Everything else stays as it is and is still to be
 * checked by `checkDer`. Never use it on something whose own bytes are signed, such as a certificate or a request.
 *
 * @param ber at most `maxBytes`
 * @throws PkiError `der` for lengths that reach too far, nesting deeper than 32, or more than 4,096 elements
 */
export function berToDer(ber: Buffer, maxBytes: number): Buffer {
  if (ber.length > maxBytes) throw new PkiError('der', `More than ${maxBytes} bytes`, 0)
  const { der, end } = rewrite(ber, 0, ber.length, { elements: 0 }, 0)
  if (end !== ber.length) throw new PkiError('der', 'Trailing bytes', end)
  return der
}

function rewrite(ber: Buffer, start: number, limit: number, budget: Budget, depth: number): Read {
  budget.elements += 1
  if (budget.elements > maxElements) throw new PkiError('der', 'Too many elements', start)
  if (depth > maxDerDepth) throw new PkiError('der', 'Nested too deep', start)
  const [tag, first] = start + 1 < limit ? ber.subarray(start, start + 2) : []
  if (tag === undefined || first === undefined) {
    throw new PkiError('der', 'An element is missing', start)
  }
  if ((tag & 0x1f) === 0x1f) throw new PkiError('der', 'High tag numbers are refused', start)
  const isConstructed = (tag & constructedBit) !== 0
  const length = readLength(ber, start + 1, limit)
  if (length.value === undefined && !isConstructed) {
    throw new PkiError('der', 'A primitive element of indefinite length', start)
  }
  const end = length.value === undefined ? undefined : length.at + length.value
  if (!isConstructed && end !== undefined) {
    const content = ber.subarray(length.at, end)
    return { der: Buffer.concat([header(tag, content.length), content]), end }
  }
  const inside = rewriteInside(ber, { start: length.at, end, limit }, budget, depth + 1)
  if (tag === constructedOctetString) return { der: joined(inside.parts, start), end: inside.end }
  const size = inside.parts.reduce((sum, part) => sum + part.length, 0)
  return { der: Buffer.concat([header(tag, size), ...inside.parts]), end: inside.end }
}

/** The elements up to `end`, or up to the end-of-contents octets when the length is indefinite. */
function rewriteInside(
  ber: Buffer,
  bounds: { start: number; end: number | undefined; limit: number },
  budget: Budget,
  depth: number,
): { parts: Buffer[]; end: number } {
  const parts: Buffer[] = []
  let at = bounds.start
  while (bounds.end === undefined || at < bounds.end) {
    if (bounds.end === undefined && ber[at] === endOfContents && at + 1 < bounds.limit) {
      if (ber[at + 1] !== 0) throw new PkiError('der', 'Malformed end of contents', at)
      return { parts, end: at + 2 }
    }
    const { der, end } = rewrite(ber, at, bounds.end ?? bounds.limit, budget, depth)
    parts.push(der)
    at = end
  }
  return { parts, end: at }
}

/** Value undefined is the indefinite form. */
function readLength(
  ber: Buffer,
  start: number,
  limit: number,
): { value: number | undefined; at: number } {
  const first = ber[start] ?? 0
  const at = start + 1
  if (first < 0x80) return bounded(first, at, start, limit)
  if (first === 0x80) return { value: undefined, at }
  const octets = first & 0x7f
  if (octets > 6 || at + octets > limit) {
    throw new PkiError('der', 'Length reaches past the end', start)
  }
  return bounded(ber.readUIntBE(at, octets), at + octets, start, limit)
}

function bounded(value: number, at: number, start: number, limit: number) {
  if (value > limit - at) throw new PkiError('der', 'Length reaches past the end', start)
  return { value, at }
}

/** One OCTET STRING of the segments, which are DER already. */
function joined(segments: readonly Buffer[], start: number): Buffer {
  const contents = segments.map((segment) => {
    if (segment[0] !== tags.octetString) {
      throw new PkiError('der', 'A segment is not an OCTET STRING', start)
    }
    const first = segment[1] ?? 0
    return segment.subarray(first < 0x80 ? 2 : 2 + (first & 0x7f))
  })
  const content = Buffer.concat(contents)
  return Buffer.concat([header(tags.octetString, content.length), content])
}
