import { expect, test } from 'vitest'

import { drainPlan } from '../../../server/mqtt/drain.ts'
import { SeededRandom } from '../../support/fleet/random.ts'

test('a fleet is sent elsewhere evenly: one in each part of the time, in order, none after it', () => {
  const random = new SeededRandom(7)
  const plan = drainPlan(1_000, 10_000, () => random.next())
  expect(plan).toHaveLength(1_000)
  expect(plan).toEqual(plan.toSorted((a, b) => a - b))
  for (const [n, atMs] of plan.entries()) {
    expect(atMs).toBeGreaterThanOrEqual(n * 10)
    expect(atMs).toBeLessThan((n + 1) * 10)
  }
})

test('few devices are not waited for as long as many, and nobody at all not at all', () => {
  expect(Math.max(...drainPlan(5, 600_000))).toBeLessThan(50)
  expect(drainPlan(0, 3_000)).toEqual([])
  expect(drainPlan(3, 0)).toEqual([0, 0, 0])
})
