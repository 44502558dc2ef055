import { PkiError } from '../errors.ts'
import { maxDerBytes, maxDerDepth, readHeader } from './reader.ts'
import { constructedBit, tags } from './tags.ts'
import { checkPrimitive } from './values.ts'

const universalClass = 0x00
const classMask = 0xc0

interface Level {
  readonly end: number
  readonly isSet: boolean
  /** The element before, for the order of a SET OF. */
  previousStart: number
  previousEnd: number
}

export interface DerRules {
  maxBytes?: number
  /** `report` gives the offsets back instead of refusing (CSR attributes, where the field deviates). */
  setOrder?: 'refuse' | 'report'
}

/**
 * Walks one complete DER element to its last leaf and checks everything that can be checked without
 * knowing the structure: lengths, tags, primitive contents, SET OF order, nesting, trailing bytes.
 * It recurses into nothing: depth costs a small array, so no input can exhaust the stack.
 *
 * @returns offsets of SET elements out of order; always empty unless `setOrder` is `report`
 * @throws PkiError `der`
 */
export function checkDer(der: Buffer, rules: DerRules = {}): number[] {
  const { maxBytes = maxDerBytes, setOrder = 'refuse' } = rules
  if (der.length > maxBytes) throw new PkiError('der', `More than ${maxBytes} bytes`, 0)
  const outer = readHeader(der, 0, der.length)
  if (outer.end !== der.length) throw new PkiError('der', 'Trailing bytes', outer.end)

  const deviations: number[] = []
  const levels: Level[] = [newLevel(der.length, false)]
  let at = 0
  for (let level = levels.at(-1); level; level = levels.at(-1)) {
    if (at >= level.end) {
      levels.pop()
      continue
    }
    const element = readHeader(der, at, level.end)
    if (level.isSet && !isAfterPrevious(der, level, element.start, element.end)) {
      if (setOrder === 'refuse') throw new PkiError('der', 'SET OF is not sorted', element.start)
      deviations.push(element.start)
    }
    level.previousStart = element.start
    level.previousEnd = element.end
    if (entersElement(element.tag, der, element.contentStart, element.end, element.start)) {
      if (levels.length >= maxDerDepth) throw new PkiError('der', 'Nested too deep', element.start)
      levels.push(newLevel(element.end, element.tag === tags.set))
      at = element.contentStart
    } else {
      at = element.end
    }
  }
  return deviations
}

function newLevel(end: number, isSet: boolean): Level {
  return { end, isSet, previousStart: -1, previousEnd: -1 }
}

/** X.690 §11.6: ascending, compared as octet strings. Equal elements are allowed in a SET OF. */
function isAfterPrevious(der: Buffer, level: Level, start: number, end: number): boolean {
  if (level.previousStart < 0) return true
  return der.compare(der, start, end, level.previousStart, level.previousEnd) <= 0
}

/** Whether the walk goes inside. Checks the element here if it is primitive. */
function entersElement(
  tag: number,
  der: Buffer,
  contentStart: number,
  end: number,
  start: number,
): boolean {
  const isConstructed = (tag & constructedBit) !== 0
  if ((tag & classMask) !== universalClass) return isConstructed
  if (tag === tags.sequence || tag === tags.set) return true
  // A constructed string is BER; a primitive SEQUENCE (10) is nothing at all.
  if (isConstructed) throw new PkiError('der', 'Constructed form of a primitive type', start)
  checkPrimitive(tag, der.subarray(contentStart, end), start)
  return false
}
