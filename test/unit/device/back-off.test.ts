import { expect, test } from 'vitest'

import { backOffMs } from '../../../device-sim/back-off.ts'

const maxMs = 30_000
const [least, middle, most] = [() => 0, () => 0.5, () => 1 - Number.EPSILON]

test('after a failure it waits a random time between nothing and a bound that doubles to the longest', () => {
  const bounds = [0, 1, 2, 3, 4, 5, 1_000].map((failures) =>
    Math.round(backOffMs(failures, { maxMs, isAsked: false, random: most })),
  )
  expect(bounds).toEqual([2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000])
  expect(backOffMs(3, { maxMs, isAsked: false, random: least })).toBe(0)
})

test('a server that cannot take it gets twice as long, and rest in the first half of it', () => {
  const of = (failures: number, random: () => number) =>
    Math.round(backOffMs(failures, { maxMs, isAsked: true, random }))
  expect([0, 1, 2].map((failures) => of(failures, least))).toEqual([2_000, 4_000, 8_000])
  expect([0, 1, 2].map((failures) => of(failures, middle))).toEqual([3_000, 6_000, 12_000])
  expect([0, 1, 2, 1_000].map((failures) => of(failures, most))).toEqual([
    4_000, 8_000, 16_000, 30_000,
  ])
})
