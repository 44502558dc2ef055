import { expect, test } from 'vitest'

import { penaltyOf } from '../../../server/rollouts/penalty-box.ts'

const hourMs = 3_600_000
const now = new Date('2026-11-26T10:00:00Z')
const ago = (hours: number) => new Date(now.getTime() - hours * hourMs)
const tries = (...hours: number[]) => hours.map((one) => ago(one).getTime() / 1_000)

test('a failed deployment costs a day', () => {
  const failed = (hours: number) => penaltyOf({ failed_at: ago(hours), tries: [] }, now)
  expect(failed(0)).toEqual({ until: new Date('2026-11-27T10:00:00Z'), why: 'failed' })
  expect(failed(23.9)).toBeDefined()
  expect(failed(24)).toBeUndefined()
})

test('so do five tries within a day, from the fifth on; four do not', () => {
  const tried = (...hours: number[]) => penaltyOf({ failed_at: null, tries: tries(...hours) }, now)
  expect(tried(1, 2, 3, 4)).toBeUndefined()
  expect(tried(1, 2, 3, 4, 5)).toEqual({ until: ago(-23), why: 'tries' })
  // Five, but never within one day.
  expect(tried(1, 8, 15, 22, 25)).toBeUndefined()
  // The fifth within a day was an earlier one, and its day is not over.
  expect(tried(1, 20, 21, 22, 23, 43.5)).toEqual({ until: ago(-23), why: 'tries' })
  expect(tried(1, 20, 30, 31, 32, 40)).toEqual({ until: ago(-4), why: 'tries' })
})

test('the later of both counts', () => {
  const both = { failed_at: ago(2), tries: tries(1, 2, 3, 4, 5) }
  expect(penaltyOf(both, now)).toEqual({ until: ago(-23), why: 'tries' })
})
