import { PkiError } from '../errors.ts'
import { maxDerBytes, maxDerDepth, readHeaderInto, type Tlv } from './reader.ts'
import { constructedBit, tags } from './tags.ts'
import { checkPrimitive } from './values.ts'

const universalClass = 0x00
const classMask = 0xc0

interface Level {
  end: number
  isSet: boolean
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
  const element = { tag: 0, start: 0, contentStart: 0, end: 0 }
  readHeaderInto(element, der, 0, der.length)
  if (element.end !== der.length) throw new PkiError('der', 'Trailing bytes', element.end)

  const deviations: number[] = []
  // Of each depth one, used again for its next element.
  const levels: Level[] = []
  enterLevel(levels, 0, der.length, false)
  let depth = 0
  let at = 0
  for (let level = levels[0]; level; level = levels[depth]) {
    if (at >= level.end) {
      depth -= 1
      continue
    }
    readHeaderInto(element, der, at, level.end)
    if (level.isSet && !isAfterPrevious(der, level, element.start, element.end)) {
      if (setOrder === 'refuse') throw new PkiError('der', 'SET OF is not sorted', element.start)
      deviations.push(element.start)
    }
    level.previousStart = element.start
    level.previousEnd = element.end
    if (entersElement(der, element)) {
      depth += 1
      if (depth >= maxDerDepth) throw new PkiError('der', 'Nested too deep', element.start)
      enterLevel(levels, depth, element.end, element.tag === tags.set)
      at = element.contentStart
    } else {
      at = element.end
    }
  }
  return deviations
}

function enterLevel(levels: Level[], depth: number, end: number, isSet: boolean): void {
  const level = levels[depth]
  if (!level) {
    levels.push({ end, isSet, previousStart: -1, previousEnd: -1 })
    return
  }
  level.end = end
  level.isSet = isSet
  level.previousStart = -1
  level.previousEnd = -1
}

/** X.690 §11.6: ascending, compared as octet strings. Equal elements are allowed in a SET OF. */
function isAfterPrevious(der: Buffer, level: Level, start: number, end: number): boolean {
  if (level.previousStart < 0) return true
  return der.compare(der, start, end, level.previousStart, level.previousEnd) <= 0
}

/** Whether the walk goes inside. Checks the element here if it is primitive. */
function entersElement(der: Buffer, element: Tlv): boolean {
  const { tag, start } = element
  const isConstructed = (tag & constructedBit) !== 0
  if ((tag & classMask) !== universalClass) return isConstructed
  if (tag === tags.sequence || tag === tags.set) return true
  // A constructed string is BER; a primitive SEQUENCE (10) is nothing at all.
  if (isConstructed) throw new PkiError('der', 'Constructed form of a primitive type', start)
  checkPrimitive(tag, der, element)
  return false
}
