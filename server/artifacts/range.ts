/** What a `GET` asks for of a representation of `size` bytes; `start` and `end` are byte positions, both included. */
export type Selection =
  | { kind: 'whole' }
  | { kind: 'part'; start: number; end: number }
  | { kind: 'unsatisfiable' }

/**
 * RFC 9110 section 14.2: an unknown unit or bad syntax is ignored, a range outside the representation is not
 * satisfiable. Several ranges at once are refused too (updates.md section 6): they are a way to ask for much
 * work with few bytes. `If-Range` (section 13.1.5) counts only as an equal strong entity tag.
 */
export function selectRange(
  { range, ifRange }: { range: string | undefined; ifRange: string | undefined },
  { size, etag }: { size: number; etag: string },
): Selection {
  if (range === undefined || (ifRange !== undefined && ifRange !== etag)) return { kind: 'whole' }
  const set = /^bytes=(.{1,1000})$/i.exec(range.trim())?.[1]
  if (set === undefined) return { kind: 'whole' }
  if (set.includes(',')) return { kind: 'unsatisfiable' }
  const [, first = '', last = ''] = /^\s*(\d{0,15})-(\d{0,15})\s*$/.exec(set) ?? []
  if (first === '' && last === '') return { kind: 'whole' }
  if (first === '') {
    const suffix = Math.min(Number(last), size)
    return suffix === 0
      ? { kind: 'unsatisfiable' }
      : { kind: 'part', start: size - suffix, end: size - 1 }
  }
  const start = Number(first)
  const end = last === '' ? size - 1 : Math.min(Number(last), size - 1)
  if (last !== '' && Number(last) < start) return { kind: 'whole' }
  return start < size ? { kind: 'part', start, end } : { kind: 'unsatisfiable' }
}
