import { DomainError } from '../errors.ts'

const maxDepth = 32

/**
 * Refuses what no part of the system can hold, before anything walks into it: nesting deeper than 32 (code that recurses
 * over a body would run out of stack), U+0000 and halves of surrogate pairs (the database refuses both), and
 * `__proto__` as a name. Throws `invalid-request`.
 */
export function checkPlain(value: unknown, place: string): void {
  const waiting: { value: unknown; depth: number }[] = [{ value, depth: 0 }]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (typeof next.value === 'string') checkText(next.value, place)
    if (typeof next.value !== 'object' || next.value === null) continue
    if (next.depth >= maxDepth) {
      throw new DomainError('invalid-request', `The ${place} is nested more than ${maxDepth} deep`)
    }
    for (const [name, child] of Object.entries(next.value)) {
      checkText(name, place)
      if (name === '__proto__') {
        throw new DomainError('invalid-request', `The ${place} has a name that is not allowed`)
      }
      waiting.push({ value: child, depth: next.depth + 1 })
    }
  }
}

function checkText(text: string, place: string): void {
  if (text.includes('\u0000') || !text.isWellFormed()) {
    throw new DomainError(
      'invalid-request',
      `The ${place} holds text that is not valid Unicode or U+0000`,
    )
  }
}
