import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { CronError, parseCron } from '../../../server/rollouts/window-cron.ts'
import { WindowRule } from '../../../server/rollouts/window-wire.ts'
import { dayNumber, instantOf, inZone, isZone } from '../../../server/rollouts/window-zone.ts'
import { type Opening, openingFrom, closedOf, windowOf } from '../../../server/rollouts/window.ts'

const minute = 60_000
const hour = 60 * minute
const ruleOf = (given: object) => WindowRule.parse({ duration: 'PT1H', ...given })
const at = (text: string) => Date.parse(text)
const iso = (opening: Opening | undefined) =>
  opening && [opening.startAt, opening.endAt].map((one) => new Date(one).toISOString())

describe('a night on which the clock is changed', () => {
  const berlin = windowOf(ruleOf({ cron: '30 2 * * *', duration: 'PT2H', zone: 'Europe/Berlin' }))
  test('a start that the clock jumps over comes with the first minute after the jump', () => {
    expect(iso(berlin.from(at('2026-03-28T12:00:00Z')))).toEqual([
      '2026-03-29T01:00:00.000Z',
      '2026-03-29T03:00:00.000Z',
    ])
    expect(inZone('Europe/Berlin', new Date('2026-03-29T01:00:00Z'))).toBe(
      '2026-03-29 03:00 Europe/Berlin',
    )
  })
  test('a start in the hour that comes twice comes once, the first time', () => {
    expect(iso(berlin.from(at('2026-10-24T12:00:00Z')))).toEqual([
      '2026-10-25T00:30:00.000Z',
      '2026-10-25T02:30:00.000Z',
    ])
    expect(iso(berlin.from(at('2026-10-25T02:30:00Z')))).toEqual([
      '2026-10-26T01:30:00.000Z',
      '2026-10-26T03:30:00.000Z',
    ])
  })
  test('half an hour is enough, and so is a whole day', () => {
    const island = windowOf(ruleOf({ cron: '15 2 * * *', zone: 'Australia/Lord_Howe' }))
    expect(iso(island.from(at('2026-10-03T12:00:00Z')))?.[0]).toBe('2026-10-03T15:30:00.000Z')
    const apia = windowOf(ruleOf({ cron: '0 5 30 12 *', zone: 'Pacific/Apia' }))
    expect(iso(apia.from(at('2011-12-29T00:00:00Z')))?.[0]).toBe('2011-12-30T10:00:00.000Z')
  })
})

/** Which local times come at each minute, by walking from minute to minute: what the clock shows, and what it jumped over. */
function naiveStarts(zone: string, line: string, from: number, to: number): number[] {
  const { isDay, minutes } = parseCron(line)
  const format = new Intl.DateTimeFormat('sv-SE', {
    timeZone: zone,
    dateStyle: 'short',
    timeStyle: 'short',
  })
  const local = (instant: number) => Date.parse(`${format.format(instant).replace(' ', 'T')}:00Z`)
  const fires = (time: number) =>
    isDay(Math.floor(time / (24 * hour))) && minutes.includes((time / minute) % 1_440)
  const found: number[] = []
  let latest = local(from - minute)
  for (let now = from; now < to; now += minute) {
    const time = local(now)
    let isStart = false
    for (let passed = latest + minute; passed <= time; passed += minute) {
      isStart ||= fires(passed)
    }
    if (isStart) found.push(now)
    latest = Math.max(latest, time)
  }
  return found
}

// Around the days on which these zones change their clocks, or do not.
const nights = [
  ['Europe/Berlin', '2026-03-28T00:00Z'],
  ['Europe/Berlin', '2026-10-24T00:00Z'],
  ['America/New_York', '2027-03-13T00:00Z'],
  ['America/New_York', '2026-10-31T00:00Z'],
  ['Australia/Lord_Howe', '2026-04-03T12:00Z'],
  ['Australia/Lord_Howe', '2026-10-02T12:00Z'],
  ['Asia/Kathmandu', '2026-06-01T00:00Z'],
  ['Pacific/Apia', '2011-12-29T00:00Z'],
  ['Pacific/Apia', '2021-04-02T00:00Z'],
] as const

const lines = fc
  .tuple(
    fc.array(fc.integer({ min: 0, max: 59 }), { minLength: 1, maxLength: 3 }),
    fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 4 }),
    fc.constantFrom('* * *', '*/2 * *', '* * sun', '29-31 * mon'),
  )
  .map(([minutes, hours, days]) => `${minutes.join(',')} ${hours.join(',')} ${days}`)

test.each(nights)('agrees with walking minute by minute: %s, %s', (zone, start) => {
  const from = at(start)
  const to = from + 60 * hour
  fc.assert(
    fc.property(lines, fc.integer({ min: 1, max: 30 }), (line, tens) => {
      const duration = tens * 10 * minute
      const window = windowOf(ruleOf({ cron: line, zone, duration: `PT${tens * 10}M` }))
      const starts = naiveStarts(zone, line, from - duration, to)
      for (let now = from; now < to; now += 7 * minute) {
        const isOpen = starts.some((one) => one <= now && now < one + duration)
        const opening = window.from(now)
        expect(
          opening !== undefined && opening.startAt <= now,
          `${line} ${iso(opening)?.join()}`,
        ).toBe(isOpen)
        const next = starts.find((one) => one > now)
        if (!isOpen && next !== undefined) expect(opening?.startAt).toBe(next)
      }
    }),
    { numRuns: 12, seed: 34 },
  )
})

test('a local time is that of the clock, wherever the clock shows it', () => {
  for (const [zone, start] of nights) {
    for (let n = 0; n < 60; n++) {
      const instant = at(start) + n * hour
      const [date = '', time = ''] = inZone(zone, new Date(instant)).split(' ')
      const found = instantOf(zone, at(`${date}T${time}:00Z`))
      expect(inZone(zone, new Date(found))).toBe(`${date} ${time} ${zone}`)
      expect(found).toBeLessThanOrEqual(instant)
    }
  }
})

describe('cron lines', () => {
  test.each([
    ['0 1 * * *', 1],
    ['*/30 0-11 * * *', 24],
    ['0 22 * * mon-fri', 1],
    ['0 0 29 2 *', 1],
    ['0 3 1-7 * SUN', 1],
    ['5,10 4/8 * jan,jul 0', 6],
  ])('%s', (line, starts) => {
    expect(parseCron(line).minutes).toHaveLength(starts)
  })
  test.each([
    '',
    '0 1 * *',
    '0 1 * * * *',
    '60 1 * * *',
    '0 24 * * *',
    '0 1 0 * *',
    '0 1 32 * *',
    '0 1 * 13 *',
    '0 1 * * 8',
    '0 1 * * mon-',
    '0 1 * * fri-mon',
    '0 1 * moon *',
    '*/0 1 * * *',
    '*-5 1 * * *',
    '-1 1 * * *',
    '* * * * *',
    '*/2 0 * * *',
    '0 1 30 2 *',
    '0 1 31 4,6,9,11 *',
    '@daily',
    `0 1 * * ${'1,'.repeat(60)}1`,
  ])('%s is refused', (line) => {
    expect(() => parseCron(line)).toThrow(CronError)
  })
  test('both kinds of day: one of them is enough', () => {
    const { isDay } = parseCron('0 1 13 * fri')
    expect(isDay(dayNumber('2026-11-13') ?? 0)).toBe(true)
    expect(isDay(dayNumber('2026-12-13') ?? 0)).toBe(true)
    expect(isDay(dayNumber('2026-11-20') ?? 0)).toBe(true)
    expect(isDay(dayNumber('2026-11-21') ?? 0)).toBe(false)
  })
  test('hostile lines end quickly, with a refusal or with starts', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[0-9a-z*/, -]{0,120}$/), (line) => {
        try {
          expect(parseCron(line).minutes.length).toBeLessThanOrEqual(24)
        } catch (error) {
          expect(error).toBeInstanceOf(CronError)
        }
      }),
      { seed: 5 },
    )
  })
})

describe('several windows and closed days', () => {
  const zone = 'Europe/Berlin'
  const night = windowOf(ruleOf({ cron: '0 22 * * *', duration: 'PT8H', zone }))
  const early = windowOf(ruleOf({ cron: '0 5 * * *', duration: 'PT4H', zone }))
  const monday = windowOf(ruleOf({ weekly: { days: ['mon'], at: '01:00' }, zone }))
  const tuesday = windowOf(ruleOf({ weekly: { days: ['tue'], at: '01:00' }, zone }))

  test('all must be open', () => {
    const windows = [night, early]
    expect(iso(openingFrom({ windows, closed: [] }, at('2026-12-01T12:00:00Z')))).toEqual([
      '2026-12-02T04:00:00.000Z',
      '2026-12-02T05:00:00.000Z',
    ])
  })
  test('windows that never meet never open', () => {
    const windows = [monday, tuesday]
    expect(openingFrom({ windows, closed: [] }, at('2026-12-01T12:00:00Z'))).toBeUndefined()
  })
  test('a closed day begins and ends with the day of its own place', () => {
    const closed = [closedOf(zone, ['2026-12-24/2026-12-25', '2026-12-26'])]
    const schedule = { windows: [night], closed }
    expect(iso(openingFrom(schedule, at('2026-12-23T21:30:00Z')))).toEqual([
      '2026-12-23T21:00:00.000Z',
      '2026-12-23T23:00:00.000Z',
    ])
    expect(iso(openingFrom(schedule, at('2026-12-23T23:00:00Z')))).toEqual([
      '2026-12-26T23:00:00.000Z',
      '2026-12-27T05:00:00.000Z',
    ])
    expect(openingFrom({ windows: [], closed }, at('2026-12-23T22:59:59Z'))?.endAt).toBe(
      at('2026-12-23T23:00:00Z'),
    )
    expect(openingFrom({ windows: [], closed }, at('2027-12-23T22:59:59Z'))?.endAt).toBe(Infinity)
  })
  test('closed for ever, or past its last day, is never', () => {
    const closed = [closedOf(zone, ['2026-12-24/9999-12-31'])]
    expect(openingFrom({ windows: [night], closed }, at('2026-12-24T12:00:00Z'))).toBeUndefined()
    const over = windowOf(ruleOf({ cron: '0 22 * * *', zone, until: '2026-12-01' }))
    expect(iso(over.from(at('2026-12-01T12:00:00Z')))?.[0]).toBe('2026-12-01T21:00:00.000Z')
    expect(over.from(at('2026-12-01T22:00:00Z'))).toBeUndefined()
  })
  test('openings that touch are one; a day of 23 hours is no exception', () => {
    const always = windowOf(ruleOf({ cron: '0 0 * * *', duration: 'P1D', zone }))
    for (let now = at('2026-03-20T00:00Z'); now < at('2026-04-10T00:00Z'); now += 5 * hour) {
      const { startAt = 0, endAt = 0 } = always.from(now) ?? {}
      expect(startAt).toBeLessThan(now)
      expect(endAt).toBeGreaterThan(now)
    }
  })
  test('the twenty-ninth of February is waited for', () => {
    const leap = windowOf(ruleOf({ cron: '0 1 29 2 *', zone: 'UTC' }))
    expect(iso(leap.from(at('2097-01-01T00:00Z')))?.[0]).toBe('2104-02-29T01:00:00.000Z')
  })
})

test.each(['Europe/Berlin', 'UTC', 'Etc/GMT+5', 'America/Argentina/Ushuaia'])(
  '%s is a zone',
  (zone) => expect(isZone(zone)).toBe(true),
)
test.each(['Europe/Nowhere', '+05:30', '', 'Europe', '../etc', 'a'.repeat(65)])(
  '%s is none',
  (zone) => expect(isZone(zone)).toBe(false),
)
