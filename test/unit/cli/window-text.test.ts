import { expect, test } from 'vitest'

import { Values } from '../../../cli/values.ts'
import { parseWindow, windowBody, windowText } from '../../../cli/window-text.ts'

test.each([
  ['0 1 * * */PT4H@Europe/Berlin', { cron: '0 1 * * *', duration: 'PT4H', zone: 'Europe/Berlin' }],
  ['*/30 1 * * mon/PT20M@UTC', { cron: '*/30 1 * * mon', duration: 'PT20M', zone: 'UTC' }],
  [
    'sat,sun 22:00/P1DT2H@America/Argentina/Ushuaia',
    {
      weekly: { days: ['sat', 'sun'], at: '22:00' },
      duration: 'P1DT2H',
      zone: 'America/Argentina/Ushuaia',
    },
  ],
])('%s, there and back', (text, window) => {
  expect(parseWindow(text)).toEqual(window)
  expect(windowText(parseWindow(text))).toBe(text)
})

test.each([
  '',
  '0 1 * * *',
  '0 1 * * */PT4H',
  '0 1 * * *@Europe/Berlin',
  '0 1 * * */4H@Europe/Berlin',
  'day,sun 22:00/PT4H@UTC',
])('refuses "%s"', (text) => {
  expect(() => parseWindow(text)).toThrow(expect.objectContaining({ code: 'usage' }))
})

const valuesOf = (given: Record<string, string | boolean | string[]>) => new Values(given)

test('options beside a window belong to one', () => {
  expect(windowBody(valuesOf({}))).toEqual({})
  expect(
    windowBody(
      valuesOf({
        window: '0 1 * * */PT4H@UTC',
        blackout: ['2026-12-24'],
        'hard-close': true,
        'ignore-windows': 'CVE-2027-1',
      }),
    ),
  ).toEqual({
    window: {
      cron: '0 1 * * *',
      duration: 'PT4H',
      zone: 'UTC',
      blackout: ['2026-12-24'],
      hardClose: true,
    },
    ignoreWindows: { reason: 'CVE-2027-1', blackouts: false },
  })
  for (const lonely of [
    { blackout: ['2026-12-24'] },
    { 'hard-close': true },
    { until: '2026-12-24' },
    { 'ignore-blackouts': true },
  ]) {
    expect(() => windowBody(valuesOf(lonely))).toThrow(expect.objectContaining({ code: 'usage' }))
  }
})
