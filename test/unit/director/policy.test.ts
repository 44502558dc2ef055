import { createHash } from 'node:crypto'

import { describe, expect, test } from 'vitest'

import { policyFor, type PolicyFacts } from '../../../server/director/policy.ts'

const advisory = { id: 'FS-1', severity: 'high', url: '/a/1', text: 'Long.', exploited: false }
const policy = (facts: Partial<PolicyFacts> = {}) =>
  policyFor({ class: 'security', advisory, managed: false, rollout: {}, model: {}, ...facts })

describe('the choice rules of updates.md 7.2', () => {
  test('security: automatic, postponed 72 h, 5 times, 14 d, then 48 h grace', () => {
    expect(policy()).toEqual({
      class: 'security',
      auto: true,
      notify: true,
      consent: 'none',
      optOut: 'honored',
      urgency: 'normal',
      quiet: [],
      window: [],
      postpone: { eachH: 72, graceH: 48, maxCount: 5, totalH: 336 },
      advisory: { id: 'FS-1', severity: 'high', url: '/a/1' },
      notice: { text: 'Long.', sha256: createHash('sha256').update('Long.').digest('hex') },
    })
  })

  test('exploited: the same, louder and sooner; only for security', () => {
    const exploited = { ...advisory, exploited: true }
    expect(policy({ advisory: exploited })).toMatchObject({
      urgency: 'exploited',
      postpone: { eachH: 24, graceH: 24, maxCount: 3, totalH: 72 },
    })
    expect(policy({ advisory: exploited, class: 'feature' }).urgency).toBe('normal')
  })

  test('94: a feature is never automatic, whatever the rollout says', () => {
    const feature = policy({ class: 'feature', rollout: { auto: true }, advisory: null })
    expect(feature).toMatchObject({ auto: false, consent: 'download+install' })
    expect(feature.postpone).toBeUndefined()
  })

  test('config: automatic and without notice', () => {
    expect(policy({ class: 'config', advisory: null })).toMatchObject({ auto: true, notify: false })
  })

  test('managed is a fact about the device, not a wish of the rollout', () => {
    expect(policy({ managed: true }).optOut).toBe('managed')
    expect(policy({ rollout: { optOut: 'managed' } }).optOut).toBe('honored')
  })
})

describe('what a rollout may change', () => {
  test('windows, quiet hours, and that it asks', () => {
    const rollout = { window: ['01:00-05:00'], quiet: ['22:00-06:00'], auto: false }
    expect(policy({ rollout })).toMatchObject({ ...rollout, consent: 'download+install' })
  })

  test('an owner gets more time than the default, never less', () => {
    const rollout = { postpone: { eachH: 1, totalH: 1_000 } }
    expect(policy({ rollout }).postpone).toEqual({
      eachH: 72,
      graceH: 48,
      maxCount: 5,
      totalH: 1_000,
    })
  })

  test.each([null, 7, 'x', { window: ['nonsense'] }, { postpone: { eachH: -1 } }, { auto: 'no' }])(
    'what is not understood counts for nothing: %j',
    (rollout) => {
      expect(policy({ rollout })).toEqual(policy())
    },
  )
})
