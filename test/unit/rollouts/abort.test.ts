import { describe, expect, test } from 'vitest'

import { type Abort, AbortBody, type AbortRule } from '../../../server/rollouts/abort-wire.ts'
import {
  abortOf,
  failuresToStop,
  firstHit,
  type Judged,
  type Outcomes,
} from '../../../server/rollouts/abort.ts'

const judged = (all: Outcomes, more: Partial<Judged> = {}): Judged => ({
  all,
  phase: all,
  darkInSmall: 0,
  usual: null,
  ...more,
})
const rule = (more: Partial<AbortRule> = {}): AbortRule => ({
  kinds: ['failed_final', 'rolled_back', 'lost'],
  minExecuted: 20,
  percent: 5,
  scope: 'rollout',
  action: 'pause',
  ...more,
})
const only = (...rules: AbortRule[]): Abort => ({ defaults: false, rules })
const builtIn: Abort = { defaults: true, rules: [] }

describe('a rule', () => {
  test('stops at its share, and not one device before', () => {
    const abort = only(rule({ percent: 5 }))
    expect(firstHit(abort, judged({ succeeded: 95, failed_final: 5 }))).toEqual({
      action: 'pause',
      reason: '5 of 100 devices failed or rolled back or were lost: the limit is 5 %',
    })
    expect(firstHit(abort, judged({ succeeded: 96, failed_final: 4 }))).toBeUndefined()
  })

  test('two decimals are exact', () => {
    const abort = only(rule({ percent: 0.29, minExecuted: 1 }))
    expect(firstHit(abort, judged({ succeeded: 9_971, lost: 29 }))).toBeDefined()
    expect(firstHit(abort, judged({ succeeded: 9_972, lost: 28 }))).toBeUndefined()
  })

  test('waits for its fewest devices, however bad they are', () => {
    const abort = only(rule({ minExecuted: 20 }))
    expect(firstHit(abort, judged({ failed_final: 19 }))).toBeUndefined()
    expect(firstHit(abort, judged({ failed_final: 20 }))).toBeDefined()
  })

  test('counts what it names and nothing else, out of all that were executed', () => {
    const outcomes = { succeeded: 80, failed_final: 10, rolled_back: 6, lost: 4, dark: 3 }
    const at = (kinds: AbortRule['kinds'], percent: number) =>
      firstHit(only(rule({ kinds, percent })), judged(outcomes)) !== undefined
    expect([at(['rolled_back'], 6), at(['rolled_back'], 6.01)]).toEqual([true, false])
    expect([at(['dark'], 3), at(['dark'], 3.01)]).toEqual([true, false])
    expect(at(['timeout'], 0.01)).toBe(false)
  })

  test('a device counts once when a kind and a part of it are named', () => {
    const abort = only(rule({ kinds: ['lost', 'dark', 'rejected', 'failed_final'], percent: 10 }))
    const outcomes = { succeeded: 91, lost: 5, dark: 5, failed_final: 4, rejected: 4 }
    expect(firstHit(abort, judged(outcomes))).toBeUndefined()
  })

  test('owners who want none of it are among those that decided', () => {
    const abort = only(rule({ kinds: ['opted_out'], percent: 50 }))
    expect(firstHit(abort, judged({ succeeded: 10, opted_out: 10 }))?.reason).toBe(
      '10 of 20 devices were opted out by their owners: the limit is 50 %',
    )
    expect(firstHit(abort, judged({ succeeded: 11, opted_out: 10 }))).toBeUndefined()
    // In no other share they are.
    const other = only(rule({ percent: 50 }))
    expect(
      firstHit(other, judged({ succeeded: 9, failed_final: 9, opted_out: 99 })),
    ).toBeUndefined()
  })

  test('of a phase looks at the open one only', () => {
    const abort = only(rule({ scope: 'phase', percent: 10 }))
    const all = { succeeded: 1_000, lost: 3 }
    expect(firstHit(abort, judged(all, { phase: { succeeded: 17, lost: 3 } }))?.reason).toContain(
      '3 of 20 devices of the phase',
    )
    expect(firstHit(abort, judged(all, { phase: { succeeded: 18, lost: 1 } }))).toBeUndefined()
  })

  test('the first that is hit decides, a person’s own before the built-in ones', () => {
    const abort: Abort = {
      defaults: true,
      rules: [rule({ percent: 50, action: 'rollback' }), rule({ percent: 5, action: 'cancel' })],
    }
    expect(firstHit(abort, judged({ failed_final: 20 }))?.action).toBe('rollback')
    expect(firstHit(abort, judged({ succeeded: 15, failed_final: 5 }))?.action).toBe('cancel')
    expect(firstHit(abort, judged({ failed_final: 3 }))?.action).toBe('pause')
  })
})

describe('the built-in rules', () => {
  test.each([
    [{ failed_final: 3 }, {}, 'All of the first 3 devices failed'],
    [{ succeeded: 17, lost: 3 }, {}, '3 of 20 devices failed: that is above 5 %'],
    [{ succeeded: 5 }, { darkInSmall: 1 }, 'A device went dark in a phase of no more than 20'],
    [{ succeeded: 5 }, { darkInSmall: 2 }, '2 devices went dark'],
    [
      { succeeded: 200, rolled_back: 6 },
      { usual: 0.002 },
      '6 of 206 devices failed, where 0.2 % usually do',
    ],
  ])('%j stop it', (all, more, reason) => {
    expect(firstHit(builtIn, judged(all, more))).toEqual({
      action: 'pause',
      reason: expect.stringContaining(reason),
    })
    expect(firstHit({ defaults: false, rules: [] }, judged(all, more))).toBeUndefined()
  })

  test.each([
    [{ failed_final: 2 }, {}],
    [{ succeeded: 18, lost: 2 }, {}],
    [{ succeeded: 200, rolled_back: 6 }, {}],
    [{ succeeded: 200, rolled_back: 2 }, { usual: 0.002 }],
    [{ succeeded: 500, opted_out: 400 }, { usual: 0.002 }],
  ])('%j do not', (all, more) => {
    expect(firstHit(builtIn, judged(all, more))).toBeUndefined()
  })
})

test('as it is written: a list, or with a word about the built-in rules', () => {
  expect(AbortBody.parse([{ percent: 5 }])).toEqual({ defaults: true, rules: [rule()] })
  expect(AbortBody.parse({ defaults: false })).toEqual({ defaults: false, rules: [] })
  expect(AbortBody.parse([])).toEqual(builtIn)
})

test.each([
  [[{ percent: 0 }]],
  [[{ percent: 5.001 }]],
  [[{ percent: 100.01 }]],
  [[{ percent: 5, kinds: [] }]],
  [[{ percent: 5, kinds: ['lost', 'lost'] }]],
  [[{ percent: 5, kinds: ['succeeded'] }]],
  [[{ percent: 5, action: 'explode' }]],
  [[{ percent: 5, minExecuted: 0 }]],
  [Array.from({ length: 17 }, () => ({ percent: 5 }))],
  [{ defaults: 'no' }],
  [{ rule: [] }],
  ['5'],
])('%j is refused', (given) => {
  expect(AbortBody.safeParse(given).success).toBe(false)
})

test('what is stored and cannot be read leaves the built-in rules in force', () => {
  expect(abortOf([])).toEqual(builtIn)
  expect(abortOf({ defaults: false, rules: [{ percent: 'x' }] })).toEqual(builtIn)
  expect(abortOf(only(rule()))).toEqual(only(rule()))
})

test('how many failures stop it: the least number that does, by every rule', () => {
  const abort: Abort = {
    defaults: true,
    rules: [rule({ percent: 10 }), rule({ kinds: ['dark'], percent: 2 })],
  }
  expect(failuresToStop(abort, 100, 0.002).map(({ failures }) => failures)).toEqual([10, 2, 4])
  // The table of rollouts.md §7, without a comparison.
  const at = (executed: number) => failuresToStop(builtIn, executed, null)[0]?.failures
  expect([20, 50, 100, 500, 1_000].map(at)).toEqual([3, 6, 9, 34, 62])
  expect(failuresToStop(abort, 10, null).map(({ failures }) => failures)).toEqual([null, null, 3])
  expect(failuresToStop(builtIn, 0, null)[0]?.failures).toBeNull()
})
