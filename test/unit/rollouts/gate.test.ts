import { describe, expect, test } from 'vitest'

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

describe('a gate with more to it', () => {
  const opened = new Date('2026-11-26T10:00:00Z')
  const after = (minutes: number) => new Date(opened.getTime() + minutes * 60_000)
  const facts = {
    now: after(0),
    openedAt: opened,
    metAt: null as Date | null,
    heldAt: null as Date | null,
    met: 20,
    putOff: 0,
  }
  const good = { succeeded: 20, failed: 0 }

  test('soaks from the moment it was met, to the millisecond', () => {
    const soaking = { ...gate, soakMs: 3_600_000 }
    expect(judgePhase(good, soaking, facts)).toBe('soak')
    expect(judgePhase(good, soaking)).toBe('soak')
    const met = { ...facts, metAt: after(30) }
    expect(judgePhase(good, soaking, { ...met, now: new Date(after(90).getTime() - 1) })).toBe(
      'soak',
    )
    expect(judgePhase(good, soaking, { ...met, now: after(90) })).toBe('nothing')
    expect(judgePhase(good, { ...soaking, hold: true }, { ...met, now: after(90) })).toBe('hold')
    // Met once and no more: what comes first is said.
    expect(judgePhase({ succeeded: 8, failed: 8 }, soaking, { ...met, now: after(90) })).toBe(
      'share',
    )
  })

  test('waits for owners who put it off, and counts those that were met', () => {
    const patient = { ...gate, maxPutOff: 10 }
    expect(judgePhase(good, patient, { ...facts, putOff: 2 })).toBe('nothing')
    expect(judgePhase(good, patient, { ...facts, putOff: 3 })).toBe('choices')
    expect(judgePhase(good, { ...gate, maxPutOff: 0 }, { ...facts, putOff: 1 })).toBe('choices')
    expect(judgePhase(good, gate, { ...facts, putOff: 20 })).toBe('nothing')
  })

  test('too few devices in time make it a person’s turn, for good', () => {
    const timed = { ...gate, withinMs: 3_600_000 }
    const few = { succeeded: 9, failed: 0 }
    expect(judgePhase(few, timed, { ...facts, now: after(59) })).toBe('executed')
    expect(judgePhase(few, timed, { ...facts, now: after(60) })).toBe('contacts')
    expect(judgePhase(few, gate, { ...facts, now: after(60) })).toBe('executed')
    expect(judgePhase(good, timed, { ...facts, now: after(70), heldAt: after(60) })).toBe('hold')
  })
})
