import { expect, test } from 'vitest'

import { parsePhase } from '../../../cli/phases.ts'
import { Values } from '../../../cli/values.ts'

test.each([
  ['10', { percent: 10 }],
  ['0.5%', { percent: 0.5 }],
  ['10:hold', { percent: 10, hold: true }],
  ['5:soak=24h', { percent: 5, success: { soak: 'PT24H' } }],
  [
    '5:soak=PT1H30M:put-off=20:within=7d',
    { percent: 5, success: { soak: 'PT1H30M', maxPutOff: 20, within: 'P7D' } },
  ],
  ['25:success=95:min=20', { percent: 25, success: { percent: 95, minExecuted: 20 } }],
  ['count=300:seen=P7D', { count: 300, seenWithin: 'P7D' }],
  ['count=300:seen=12h:hold', { count: 300, seenWithin: 'PT12H', hold: true }],
  ['cohort=bench', { cohort: 'bench' }],
  ['25:rate=50/min', { percent: 25, rate: { perMinute: 50 } }],
  [
    '25:rate=50..5000/min,x2,step=1000',
    {
      percent: 25,
      rate: { basePerMinute: 50, maxPerMinute: 5000, factor: 2, step: 1000, per: 'succeeded' },
    },
  ],
  [
    '25:rate=50..500/min,x1.5,step=10,admitted',
    {
      percent: 25,
      rate: { basePerMinute: 50, maxPerMinute: 500, factor: 1.5, step: 10, per: 'admitted' },
    },
  ],
])('%s', (text, phase) => {
  expect(parsePhase(text)).toEqual(phase)
})

test.each([
  '',
  'x',
  '10:',
  '10:wait',
  '10:min',
  '10:min=x',
  '5:soak=1y',
  '5:within',
  '-5',
  '1e3',
  '10,5',
  'count=',
  'count=x',
  'cohort=',
  '5:seen=',
  '5:seen=soon',
  '5:rate=50',
  '5:rate=5..9/min',
  '5:rate=5/min,x2,step=1',
])('refuses "%s"', (text) => {
  expect(() => parsePhase(text)).toThrow(expect.objectContaining({ code: 'usage' }))
})

test('instants and spans', () => {
  const now = new Date('2030-01-01T00:00:00Z')
  const at = (expires: string) => new Values({ expires }).instant('expires', now)
  expect(at('30d')).toBe('2030-01-31T00:00:00.000Z')
  expect(at('45m')).toBe('2030-01-01T00:45:00.000Z')
  expect(at('2031-05-06T07:08:09+02:00')).toBe('2031-05-06T05:08:09.000Z')
  for (const odd of ['soon', '30', '1', '', '2031-99-99', '999999d']) {
    expect(() => at(odd), odd).toThrow(expect.objectContaining({ code: 'usage' }))
  }
})
