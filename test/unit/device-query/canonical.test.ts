import fc from 'fast-check'
import { expect, test } from 'vitest'

import { canonicalQuery } from '../../../server/device-query/canonical.ts'
import { parseDeviceQuery } from '../../../server/device-query/parse.ts'
import { queries } from '../../support/device-queries.ts'

test('spaces are where they are usual, and text keeps its own', () => {
  expect(
    canonicalQuery('  model="cam  2"\n and( attributes . region in("eu" ,"uk")or lastSeen>7d )'),
  ).toBe('model = "cam  2" and (attributes.region in ("eu", "uk") or lastSeen > 7d)')
})

test('it asks the same, and stays as it is', () => {
  fc.assert(
    fc.property(queries, (text) => {
      const canonical = canonicalQuery(text)
      expect(parseDeviceQuery(canonical)).toEqual(parseDeviceQuery(text))
      expect(canonicalQuery(canonical)).toBe(canonical)
    }),
    { seed: 20_261_126, numRuns: 300 },
  )
})

test('what is no query is refused with its place', () => {
  expect(() => canonicalQuery('model = cam')).toThrow(/column 9/)
})
