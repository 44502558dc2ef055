import fc from 'fast-check'
import { expect, test } from 'vitest'

import type { StepRelease } from '../../../server/rollouts/meet-store.ts'
import { pathTo, type Standing } from '../../../server/rollouts/step-path.ts'

const release = (build: number, more: Partial<StepRelease> = {}): StepRelease => ({
  id: `r${build}`,
  component: 'main',
  version: `1.${build}`,
  build,
  svn: 1,
  class: 'feature',
  min_previous: null,
  hardware_ids: ['rev-a'],
  requires: {},
  ...more,
})
const from = (build: number, more: Partial<Standing> = {}): Standing => ({
  hardware_ids: ['rev-a'],
  installed: [{ component: 'main', version: '1.0', build, svn: 1 }],
  rolled_back: [],
  ...more,
})
const buildsTo = (target: StepRelease, others: StepRelease[], device: Standing) =>
  pathTo(target, others, device)?.map(({ build }) => build)

test('the fewest steps; of ways as short the lowest builds', () => {
  const target = release(20, { min_previous: 10 })
  const others = [release(5), release(10, { min_previous: 5 }), release(12, { min_previous: 5 })]
  expect(buildsTo(target, others, from(1))).toEqual([5, 10, 20])
  expect(buildsTo(target, others, from(5))).toEqual([10, 20])
  expect(buildsTo(target, others, from(11))).toEqual([20])
  expect(buildsTo(target, [...others, release(15)], from(1))).toEqual([15, 20])
})

test.each([
  ['other hardware', { hardware_ids: ['rev-b'] }],
  ['a requirement that is unmet', { requires: { radio: 3 } }],
  ['a lower security version', { svn: 0 }],
  ['an older line', { version: '0.9.1' }],
])('a step with %s leads nowhere', (_what, more) => {
  const target = release(20, { min_previous: 10, version: '2.0' })
  expect(buildsTo(target, [release(10, more)], from(1))).toBeUndefined()
  expect(buildsTo(target, [release(10)], from(1))).toEqual([10, 20])
})

test('a step that the device rolled back from is passed over', () => {
  const target = release(20, { min_previous: 10 })
  const others = [release(10), release(11)]
  expect(buildsTo(target, others, from(1, { rolled_back: ['r10'] }))).toEqual([11, 20])
})

test('a device that runs nothing begins with a release without a least build', () => {
  const target = release(20, { min_previous: 10 })
  const bare = from(1, { installed: [] })
  expect(buildsTo(target, [release(10, { min_previous: 0 })], bare)).toBeUndefined()
  expect(buildsTo(target, [release(10)], bare)).toEqual([10, 20])
})

/** Every way there is, by trying. */
function shortest(target: StepRelease, others: readonly StepRelease[], build: number): number {
  const least = (one: StepRelease) => one.min_previous ?? 0
  if (least(target) <= build) return 1
  const ways = others
    .filter((one) => one.build > build && one.build < target.build && least(one) <= build)
    .map((one) => 1 + shortest(target, others, one.build))
  return Math.min(...ways)
}

test('is a way that can be gone, and no other is shorter', () => {
  const others = fc.uniqueArray(
    fc
      .tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 11 }))
      .map(([build, least]) =>
        release(build, { min_previous: least === 0 ? null : Math.min(least, build - 1) }),
      ),
    { maxLength: 8, selector: ({ build }) => build },
  )
  fc.assert(
    fc.property(others, fc.nat(11), fc.nat(12), (published, runs, least) => {
      const target = release(13, { min_previous: least })
      const path = pathTo(target, published, from(runs))
      const length = shortest(target, published, runs)
      expect(path?.length ?? Infinity).toBe(length)
      let at = runs
      for (const one of path ?? []) {
        expect(one.build).toBeGreaterThan(at)
        expect(one.min_previous ?? 0).toBeLessThanOrEqual(at)
        at = one.build
      }
    }),
    { seed: 20_261_126, numRuns: 500 },
  )
})
