import fc from 'fast-check'
import { expect, test } from 'vitest'

import {
  estimate,
  type EstimatedPhase,
  type EstimateQuestion,
  saysOf,
} from '../../../server/rollouts/preview-estimate.ts'

const phase = (no: number, now: number, more: Partial<EstimatedPhase> = {}): EstimatedPhase => ({
  no,
  devices: { now, day: 0, week: 0, never: 0 },
  rate: null,
  minExecuted: 1,
  soakMs: 0,
  hold: false,
  ...more,
})
const estimateOf = (phases: readonly EstimatedPhase[], more: Partial<EstimateQuestion> = {}) =>
  estimate({
    phases,
    maxInFlight: null,
    bytesPerMinute: null,
    size: 1_000,
    durationMs: 900_000,
    isOpen: () => true,
    ...more,
  })
const total = (numbers: readonly number[]) => numbers.reduce((sum, n) => sum + n, 0)

test('a flat rate: a million at 1,000 a minute take 16.7 hours', () => {
  const { halfDoneHours, mostDoneHours, admissionsPerHour } = estimateOf([
    phase(1, 1_000_000, { rate: { perMinute: 1_000 } }),
  ])
  expect(admissionsPerHour[0]).toBe(60_000)
  expect(halfDoneHours).toBeCloseTo(8.6, 0)
  expect(mostDoneHours).toBeCloseTo(16.1, 0)
})

test('a rate that grows with successes admits a million in about four hours (rollouts.md §6)', () => {
  const rate = {
    basePerMinute: 50,
    factor: 2,
    per: 'succeeded',
    step: 1_000,
    maxPerMinute: 5_000,
  } as const
  const { mostDoneHours } = estimateOf([phase(1, 1_000_000, { rate })])
  expect(mostDoneHours).toBeGreaterThan(3.2)
  expect(mostDoneHours).toBeLessThan(5.5)
})

test('slots: so many in each time that one takes', () => {
  const { mostDoneHours, bytesPerHour } = estimateOf([phase(1, 1_000)], {
    maxInFlight: 100,
    durationMs: 1_800_000,
  })
  expect(bytesPerHour).toBe(200_000)
  expect(mostDoneHours).toBeCloseTo(5, 0)
})

test('bytes, windows, and devices that come within days', () => {
  const slow = estimateOf([phase(1, 120)], { bytesPerMinute: 1_000 })
  expect(slow.admissionsPerHour[0]).toBe(60)
  const nightly = estimateOf([phase(1, 10)], { isOpen: (after) => after >= 5 * 3_600_000 })
  expect(nightly.admissionsPerHour.slice(0, 6)).toEqual([0, 0, 0, 0, 0, 10])
  const away = phase(1, 0, { devices: { now: 0, day: 24, week: 0, never: 100 } })
  const { reachable, halfDoneHours } = estimateOf([away])
  expect(reachable).toBe(24)
  expect(halfDoneHours).toBeCloseTo(12.3, 0)
})

test('gates: soak, a person, and too few devices for the least number', () => {
  const soaking = [phase(1, 10, { soakMs: 24 * 3_600_000, hold: true }), phase(2, 90)]
  const { halfDoneHours, waitsForPerson, stopsAt } = estimateOf(soaking)
  expect(halfDoneHours).toBeGreaterThan(24)
  expect(waitsForPerson).toEqual([1])
  expect(stopsAt).toBeNull()
  const tooFew = [phase(1, 10, { minExecuted: 300 }), phase(2, 90)]
  expect(estimateOf(tooFew)).toMatchObject({ stopsAt: 1, halfDoneHours: null })
})

test('nobody is admitted twice, and never more than the bounds', () => {
  const counts = fc.record({
    now: fc.nat(500),
    day: fc.nat(500),
    week: fc.nat(500),
    never: fc.nat(500),
  })
  fc.assert(
    fc.property(
      fc.array(counts, { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 1, max: 50 }),
      (devices, perMinute) => {
        const phases = devices.map((one, n) =>
          phase(n + 1, 0, { devices: one, rate: { perMinute } }),
        )
        const told = estimateOf(phases)
        expect(total(told.admissionsPerHour)).toBeLessThanOrEqual(told.reachable + 168)
        for (const n of told.admissionsPerHour) expect(n).toBeLessThanOrEqual(perMinute * 60)
      },
    ),
    { seed: 20_261_126, numRuns: 30 },
  )
})

test('what the least number of a phase says', () => {
  expect(saysOf(59)).toBe('0 failures of 59 says below 5 % at 95 %')
  expect(saysOf(299)).toBe('0 failures of 299 says below 1 % at 95 %')
  expect(saysOf(20)).toBe('0 failures of 20 says below 14 % at 95 %')
})
