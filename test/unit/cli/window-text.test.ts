import { expect, test } from 'vitest'

import { parseWindow, windowText } from '../../../cli/window-text.ts'

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
