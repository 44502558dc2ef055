/** Byte positions, both included. */
export interface Part {
  start: number
  end: number
}

/** What a `GET` asks for of a representation of `size` bytes; `parts` are at least two, and no two of them touch. */
export type Selection =
  | { kind: 'whole' }
  | ({ kind: 'part' } & Part)
  | { kind: 'parts'; parts: readonly Part[] }
  | { kind: 'unsatisfiable' }

/** In one request. */
export const mostRanges = 16

/**
 * RFC 9110 section 14.2: an unknown unit or bad syntax is ignored, ranges outside the representation are left out, and when none is left
 * the request is not satisfiable. More than 16 ranges are refused (section 15.5.17: an excessive request): they ask for much work with few
 * bytes. Ranges that overlap or touch become one (section 15.3.7.2), so that no byte is sent twice; the others stay in the order in which they
 * were asked for. `If-Range` (section 13.1.5) counts only as an equal strong entity tag.
 */
export function selectRange(
  { range, ifRange }: { range: string | undefined; ifRange: string | undefined },
  { size, etag }: { size: number; etag: string },
): Selection {
  if (range === undefined || (ifRange !== undefined && ifRange !== etag)) return { kind: 'whole' }
  const set = /^bytes=(.{1,1000})$/i.exec(range.trim())?.[1]
  if (set === undefined) return { kind: 'whole' }
  // A list may have empty elements (section 5.6.1).
  const asked = set.split(',').filter((one) => one.trim() !== '')
  if (asked.length > mostRanges) return { kind: 'unsatisfiable' }
  const found = asked.map((one) => partIn(one, size))
  if (found.length === 0 || found.includes('malformed')) return { kind: 'whole' }
  const parts = joined(found.filter((one) => typeof one === 'object'))
  const [first] = parts
  if (!first) return { kind: 'unsatisfiable' }
  return parts.length === 1 ? { kind: 'part', ...first } : { kind: 'parts', parts }
}

function partIn(asked: string, size: number): Part | 'malformed' | 'outside' {
  const [, first = '', last = ''] = /^\s*(\d{0,15})-(\d{0,15})\s*$/.exec(asked) ?? []
  if (first === '' && last === '') return 'malformed'
  if (first === '') {
    const suffix = Math.min(Number(last), size)
    return suffix === 0 ? 'outside' : { start: size - suffix, end: size - 1 }
  }
  const start = Number(first)
  const end = last === '' ? size - 1 : Math.min(Number(last), size - 1)
  if (last !== '' && Number(last) < start) return 'malformed'
  return start < size ? { start, end } : 'outside'
}

function joined(parts: readonly Part[]): Part[] {
  const kept: Part[] = []
  for (const part of parts) {
    // One that lies between others may touch several of them.
    const touched = kept.filter(({ start, end }) => part.start <= end + 1 && start <= part.end + 1)
    const whole = {
      start: Math.min(part.start, ...touched.map(({ start }) => start)),
      end: Math.max(part.end, ...touched.map(({ end }) => end)),
    }
    const at = touched[0] ? kept.indexOf(touched[0]) : kept.length
    const others = kept.filter((one) => !touched.includes(one))
    kept.splice(0, kept.length, ...others.slice(0, at), whole, ...others.slice(at))
  }
  return kept
}
