import { expect, test } from 'vitest'

import { judgePhase, reasonToStop, wilsonLowerBound } from '../../../server/rollouts/gate.ts'

const gate = { successPercent: 90, minExecuted: 10, hold: false }

test.each([
  [{ succeeded: 0, failed: 0 }, 'executed'],
  [{ succeeded: 9, failed: 0 }, 'executed'],
  [{ succeeded: 10, failed: 0 }, 'nothing'],
  [{ succeeded: 9, failed: 1 }, 'nothing'],
  [{ succeeded: 8, failed: 2 }, 'share'],
  [{ succeeded: 18, failed: 2 }, 'nothing'],
] as const)('a phase with %j waits for %s', (verdicts, waitsFor) => {
  expect(judgePhase(verdicts, gate)).toBe(waitsFor)
})

test('a hold waits for a person, but only once the gate is met', () => {
  expect(judgePhase({ succeeded: 10, failed: 0 }, { ...gate, hold: true })).toBe('hold')
  expect(judgePhase({ succeeded: 9, failed: 0 }, { ...gate, hold: true })).toBe('executed')
})

test('a phase in which nothing happened is never passed', () => {
  const open = { successPercent: 0, minExecuted: 0, hold: false }
  expect(judgePhase({ succeeded: 0, failed: 0 }, open)).toBe('executed')
  expect(judgePhase({ succeeded: 0, failed: 1 }, open)).toBe('nothing')
})

// The table of rollouts.md §7.
test.each([
  [3, 20],
  [6, 50],
  [9, 100],
  [34, 500],
  [62, 1000],
])('%d failures of %d stop a rollout, one less does not', (failed, executed) => {
  expect(reasonToStop({ failed, succeeded: executed - failed })).toContain('above 5 %')
  expect(reasonToStop({ failed: failed - 1, succeeded: executed - failed + 1 })).toBeUndefined()
})

test('the first three all failing stop it, two do not', () => {
  expect(reasonToStop({ failed: 3, succeeded: 0 })).toContain('All of the first 3')
  expect(reasonToStop({ failed: 2, succeeded: 0 })).toBeUndefined()
})

test('the bound is a lower one', () => {
  for (const [hits, of] of [
    [0, 10],
    [3, 20],
    [20, 20],
  ] as const) {
    expect(wilsonLowerBound(hits, of)).toBeGreaterThanOrEqual(-1e-12)
    expect(wilsonLowerBound(hits, of)).toBeLessThanOrEqual(hits / of)
  }
})
