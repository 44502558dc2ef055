import fc from 'fast-check'
import { expect, test } from 'vitest'

import { checkPlain } from '../../../server/http/plain-value.ts'

const nested = (depth: number) => JSON.parse('['.repeat(depth) + ']'.repeat(depth)) as unknown

test.each([
  ['U+0000', 'a\u0000b'],
  ['half a surrogate pair', 'a\ud800'],
  ['in a name', { 'a\u0000': 1 }],
  ['deep inside', { a: [{ b: '\udfff' }] }],
  ['__proto__', JSON.parse('{"a":{"__proto__":{}}}') as unknown],
  ['too deep', nested(40)],
  ['far too deep', nested(100_000)],
])('refuses %s', (_name, value) => {
  expect(() => checkPlain(value, 'body')).toThrow(
    expect.objectContaining({ code: 'invalid-request' }),
  )
})

test('lets through what is well formed', () => {
  expect(() => checkPlain(nested(32), 'body')).not.toThrow()
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      const text = JSON.stringify(value)
      fc.pre(!text.includes('__proto__') && !text.includes(String.raw`\u0000`))
      checkPlain(value, 'body')
    }),
    { numRuns: 100, seed: 7 },
  )
})
