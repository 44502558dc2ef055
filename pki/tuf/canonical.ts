import { MetadataError } from './errors.ts'

/** Far above any metadata (updates.md 2.1 says 8), far below any stack. */
export const maxDepth = 32

/**
 * OLPC canonical JSON: keys sorted by bytes, no spaces, integers only; what TUF signatures are over
 * (TUF 1.0.34 section 4.2). Takes plain values; `undefined` members are left out, as JSON does.
 * Throws MetadataError for null, fractions, unsafe integers, and nesting beyond `maxDepth`.
 */
export function canonicalize(value: unknown): Buffer {
  return Buffer.from(canonicalText(value, 1), 'utf8')
}

function canonicalText(value: unknown, depth: number): string {
  if (typeof value === 'string') return `"${value.replaceAll(/["\\]/g, String.raw`\$&`)}"`
  if (typeof value === 'boolean') return String(value)
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new MetadataError('shape', 'Not a safe integer')
    return String(value)
  }
  if (typeof value !== 'object' || value === null) {
    throw new MetadataError('shape', `A ${typeof value} is not part of canonical JSON`)
  }
  // Asked before the next step down, so that no input can exhaust the stack.
  if (depth > maxDepth) throw new MetadataError('too-deep', `Nested deeper than ${maxDepth}`)
  return Array.isArray(value)
    ? `[${value.map((item) => canonicalText(item, depth + 1)).join(',')}]`
    : canonicalObject(value, depth)
}

function canonicalObject(value: object, depth: number): string {
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map(([key, member]) => `${canonicalText(key, depth)}:${canonicalText(member, depth + 1)}`)
  return `{${members.join(',')}}`
}
