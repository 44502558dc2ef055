import fc from 'fast-check'
import { expect, test } from 'vitest'

import { durationOf, secondsOf } from '../../../server/protocol/duration.ts'

test.each([
  ['PT1H', 3_600],
  ['PT24H', 86_400],
  ['P7D', 604_800],
  ['P2W', 1_209_600],
  ['P1DT12H', 129_600],
  ['PT90M', 5_400],
  ['PT1H30M5S', 5_405],
  ['PT0S', 0],
  ['P0D', 0],
])('%s is %d seconds', (text, seconds) => {
  expect(secondsOf(text)).toBe(seconds)
})

test.each([
  'P',
  'PT',
  'P1DT',
  '7d',
  'P1M',
  'P1Y',
  'P1W2D',
  'PT1.5H',
  '-PT1H',
  'PT1M1H',
  'pt1h',
  'PT1H ',
  'P999999D',
  '',
])('%j is refused', (text) => {
  expect(secondsOf(text)).toBeUndefined()
})

test('what is written is read as the same', () => {
  fc.assert(
    fc.property(fc.nat({ max: 999_999_999 }), (seconds) => {
      expect(secondsOf(durationOf(seconds))).toBe(seconds)
    }),
    { seed: 7, numRuns: 300 },
  )
  expect([0, 60, 90, 86_400, 90_061].map(durationOf)).toEqual([
    'PT0S',
    'PT1M',
    'PT1M30S',
    'P1D',
    'P1DT1H1M1S',
  ])
})
