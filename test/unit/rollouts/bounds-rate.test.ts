import fc from 'fast-check'
import { expect, test } from 'vitest'

import {
  dueAfter,
  openAt,
  type Pace,
  paceOf,
  paceOfBytes,
  perMinuteOf,
} from '../../../server/rollouts/bounds-rate.ts'

const minuteUs = 60_000_000
const startUs = Date.parse('2026-11-26T10:00:00Z') * 1_000

interface Contact {
  /** Since the contact before. */
  afterMs: number
  /** How far the clock is set back first. */
  backMs: number
  /** Devices that come at once. */
  devices: number
}

/** Instants of the admissions, in time that really passed and as the clock showed it. */
function admitted(pace: Pace, contacts: readonly Contact[]) {
  let due: number | null = null
  let real = startUs
  let off = 0
  const all: { real: number; shown: number }[] = []
  for (const { afterMs, backMs, devices } of contacts) {
    real += afterMs * 1_000
    off += backMs * 1_000
    const shown = real - off
    for (let n = 0; n < devices && openAt(pace, due, shown) <= shown; n++) {
      due = dueAfter(pace, due, shown, 1)
      all.push({ real, shown })
    }
  }
  return all
}

/** The most in any 60 seconds, both ends included. */
function mostIn60s(instants: readonly number[]): number {
  const sorted = instants.toSorted((a, b) => a - b)
  let most = 0
  let from = 0
  for (const [n, at] of sorted.entries()) {
    while (at - (sorted[from] ?? at) > minuteUs) from++
    most = Math.max(most, n - from + 1)
  }
  return most
}

const contact = (backMs: fc.Arbitrary<number>) =>
  fc.record({
    afterMs: fc.oneof(fc.nat({ max: 2_000 }), fc.nat({ max: 130_000 })),
    backMs,
    devices: fc.oneof(fc.nat({ max: 3 }), fc.nat({ max: 300 })),
  })
const perMinute = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 1_000 }))
const contacts = (backMs: fc.Arbitrary<number>) =>
  fc.array(contact(backMs), { minLength: 1, maxLength: 60 })

test('no minute has more than the rate, whoever comes when', () => {
  fc.assert(
    fc.property(perMinute, contacts(fc.constant(0)), (n, given) => {
      const all = admitted(paceOf(n), given).map(({ real }) => real)
      expect(mostIn60s(all)).toBeLessThanOrEqual(n)
    }),
    { seed: 20_261_126, numRuns: 500 },
  )
})

test('nor when the clock is set back: in time that passed always, as the clock shows it for up to two minutes', () => {
  const any = fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.nat({ max: 7_200_000 }))
  fc.assert(
    fc.property(perMinute, contacts(any), (n, given) => {
      const all = admitted(paceOf(n), given)
      expect(mostIn60s(all.map(({ real }) => real))).toBeLessThanOrEqual(n)
    }),
    { seed: 20_261_127, numRuns: 500 },
  )
  fc.assert(
    fc.property(perMinute, contacts(fc.constant(0)), fc.nat({ max: 120_000 }), (n, given, back) => {
      const set = given.map((one, at) =>
        at === given.length >> 1 ? { ...one, backMs: back } : one,
      )
      const all = admitted(paceOf(n), set)
      expect(mostIn60s(all.map(({ shown }) => shown))).toBeLessThanOrEqual(n)
    }),
    { seed: 20_261_128, numRuns: 500 },
  )
})

test('a fleet that asks all the time gets nearly the rate', () => {
  const often = Array.from({ length: 6_000 }, () => ({ afterMs: 100, backMs: 0, devices: 100 }))
  for (const [n, least] of [
    [1, 9],
    [10, 97],
    [60, 540],
    [1_000, 9_100],
  ] as const) {
    const { length } = admitted(paceOf(n), often)
    expect(length).toBeGreaterThanOrEqual(least)
    expect(length).toBeLessThanOrEqual(n * 10)
  }
})

test('a clock that was an hour ahead does not hold a rollout up for an hour', () => {
  const pace = paceOf(60)
  const due = dueAfter(pace, null, startUs + 60 * minuteUs, 5)
  expect(openAt(pace, due, startUs)).toBeLessThan(startUs + 2 * minuteUs)
  expect(openAt(pace, due, startUs)).toBeGreaterThan(startUs)
})

test('bytes: so many images as fit, and one each few minutes where none does', () => {
  expect(paceOfBytes(1_000, 10)).toEqual(paceOf(100))
  expect(paceOfBytes(1_000, 501)).toEqual(paceOf(1))
  expect(paceOfBytes(1_000, 2_500)).toEqual({ burst: 1, everyUs: 2.5 * minuteUs })
  expect(paceOfBytes(1_000, 0).everyUs).toBeGreaterThan(0)
})

test('a growing rate follows what was admitted or what succeeded, up to its end', () => {
  const rate = {
    basePerMinute: 50,
    factor: 2,
    per: 'succeeded' as const,
    step: 1_000,
    maxPerMinute: 300,
  }
  const at = (admittedN: number, succeeded: number, per: 'admitted' | 'succeeded' = 'succeeded') =>
    perMinuteOf({ ...rate, per }, { admitted: admittedN, succeeded })
  expect([at(9_999, 0), at(0, 999), at(0, 1_000), at(0, 2_999), at(0, 3_000)]).toEqual([
    50, 50, 100, 200, 300,
  ])
  expect(at(2_000, 0, 'admitted')).toBe(200)
  expect(at(0, 1_000_000_000)).toBe(300)
})
