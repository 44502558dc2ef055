import { expect, test } from 'vitest'

import { parseAbortRule } from '../../../cli/abort-rules.ts'

test.each([
  ['5', { percent: 5 }],
  ['2.25%:min=50', { percent: 2.25, minExecuted: 50 }],
  [
    '1:of=phase:kinds=lost,dark:then=cancel',
    { percent: 1, scope: 'phase', kinds: ['lost', 'dark'], action: 'cancel' },
  ],
])('%s', (text, rule) => {
  expect(parseAbortRule(text)).toEqual(rule)
})

test.each([
  '',
  'x',
  '5:',
  '5:min',
  '5:min=x',
  '5:of=fleet',
  '5:kinds=bad',
  '5:then=x',
  '1.234',
  '-1',
])('refuses "%s"', (text) => {
  expect(() => parseAbortRule(text)).toThrow(expect.objectContaining({ code: 'usage' }))
})
