import { describe, expect, test } from 'vitest'

import {
  type ChoiceFacts,
  decide,
  deadlineOf,
  postpone,
  withDeadline,
} from '../../../device-sim/update/choice.ts'
import { isInWindow } from '../../../device-sim/update/hours.ts'

const hour = 3_600_000
const now = Date.parse('2026-11-23T09:00:00Z')

function facts(
  change: {
    policy?: Partial<ChoiceFacts['task']['policy']>
    offer?: Partial<ChoiceFacts['offer']>
    owner?: Partial<ChoiceFacts['owner']>
    accepted?: boolean
    managed?: boolean
    noticeMs?: number
    now?: number
  } = {},
): ChoiceFacts {
  const { policy, offer, owner, accepted = false, ...rest } = change
  return {
    task: {
      accepted,
      policy: {
        class: 'security',
        auto: true,
        consent: 'none',
        optOut: 'honored',
        urgency: 'normal',
        window: [],
        postpone: { eachH: 72, graceH: 48, maxCount: 3, totalH: 100 },
        ...policy,
      },
    },
    offer: { key: 'k', firstAt: now, postponed: [], declined: false, ...offer },
    owner: { optOut: false, ...owner },
    managed: false,
    noticeMs: 0,
    now,
    ...rest,
  }
}

const feature = { class: 'feature', auto: false, consent: 'download+install' } as const

describe('who decides', () => {
  test('91 an untouched device installs security unaided', () => {
    expect(decide(facts())).toEqual({ decision: 'install' })
  })

  test('a notice gives the owner time first', () => {
    expect(decide(facts({ noticeMs: 1000 }))).toEqual({ decision: 'ask', until: now + 1000 })
    expect(decide(facts({ noticeMs: 1000, now: now + 1000 }))).toEqual({ decision: 'install' })
  })

  test('92 an opt-out binds, also after the deadline; a yes to one release beats it', () => {
    const owner = { optOut: true }
    expect(decide(facts({ owner, now: now + 1000 * hour }))).toEqual({ decision: 'optedOut' })
    expect(decide(facts({ owner, accepted: true }))).toEqual({ decision: 'install' })
    expect(decide(facts({ owner: { optOut: false } }))).toEqual({ decision: 'install' })
  })

  test('94 a feature is never automatic, whatever the director says', () => {
    const said = { class: 'feature', auto: true, consent: 'none' } as const
    expect(decide(facts({ policy: said, now: now + 10_000 * hour }))).toEqual({ decision: 'ask' })
    expect(decide(facts({ policy: feature, accepted: true }))).toEqual({ decision: 'install' })
  })

  test('97 an override signed by stolen director keys is ignored on a consumer device', () => {
    const override = { by: ['key:a', 'key:b'], reason: 'r', until: '2026-11-24T09:00:00Z' }
    const policy = { optOut: 'managed', override } as const
    const owner = { optOut: true }
    expect(decide(facts({ policy, owner }))).toEqual({ decision: 'optedOut' })
    // The honest twin: enrolled as managed, with its owner's agreement.
    expect(decide(facts({ policy, owner, managed: true }))).toEqual({ decision: 'install' })
  })

  test('96 an override needs two people and time left, and is for security only', () => {
    const owner = { optOut: true }
    const by = ['key:a', 'key:b']
    const override = { by, reason: 'r', until: '2026-11-24T09:00:00Z' }
    const decided = (change: object, more: object = {}) => {
      const policy = { optOut: 'managed' as const, override: { ...override, ...change }, ...more }
      return decide(facts({ policy, owner, managed: true })).decision
    }
    expect(decided({})).toBe('install')
    expect(decided({ by: ['key:a'] })).toBe('optedOut')
    expect(decided({ by: ['key:a', 'key:a'] })).toBe('optedOut')
    expect(decided({ until: '2026-11-23T09:00:00Z' })).toBe('optedOut')
    expect(decided({}, { class: 'feature' })).toBe('optedOut')
    expect(decided({}, { optOut: 'honored' })).toBe('optedOut')
    // Managed alone is no override: an opt-out binds there too.
    const policy = { optOut: 'managed' } as const
    expect(decide(facts({ policy, owner, managed: true }))).toEqual({ decision: 'optedOut' })
    const offer = { postponed: [{ at: now, until: now + hour }] }
    const managed = { policy: { ...policy, override }, offer, managed: true }
    expect(decide(facts(managed))).toEqual({ decision: 'install' })
  })

  test('103 a release declined alone does not decline the next one', () => {
    expect(decide(facts({ offer: { declined: true } }))).toEqual({ decision: 'optedOut' })
    expect(decide(facts({ offer: { key: 'other' } }))).toEqual({ decision: 'install' })
  })

  test('a configuration cannot be opted out of', () => {
    const policy = { class: 'config' } as const
    expect(decide(facts({ policy, owner: { optOut: true } }))).toEqual({ decision: 'install' })
  })

  test('a model that asks also for security waits for a yes, without a deadline', () => {
    const policy = { auto: false, consent: 'download+install' } as const
    expect(decide(facts({ policy, now: now + 1000 * hour }))).toEqual({ decision: 'ask' })
  })
})

describe('postponing', () => {
  const put = (at: number, until: number) => ({ at, until })

  test('93 is bounded in each, in number and in total', () => {
    expect(postpone(facts(), now + 72 * hour)).toEqual({ allowed: true, until: now + 72 * hour })
    expect(postpone(facts(), now + 72 * hour + 1)).toMatchObject({ allowed: false })
    const three = [1, 2, 3].map((n) => put(now + n, now + n + 1))
    expect(postpone(facts({ offer: { postponed: three.slice(1) } }), undefined).allowed).toBe(true)
    expect(postpone(facts({ offer: { postponed: three } }), undefined).allowed).toBe(false)
    const late = now + 99 * hour
    expect(postpone(facts({ now: late }), late + hour)).toEqual({
      allowed: true,
      until: late + hour,
    })
    expect(postpone(facts({ now: late }), late + 2 * hour).allowed).toBe(false)
    expect(postpone(facts({ now: now + 100 * hour }), undefined).allowed).toBe(false)
  })

  test('without a wish lasts as long as it may, never beyond the deadline', () => {
    expect(postpone(facts(), undefined)).toEqual({ allowed: true, until: now + 72 * hour })
    const late = now + 90 * hour
    expect(postpone(facts({ now: late }), undefined)).toEqual({
      allowed: true,
      until: now + 100 * hour,
    })
  })

  test('holds while it lasts and ends by itself', () => {
    const offer = { postponed: [put(now, now + hour)] }
    expect(decide(facts({ offer, now: now + hour - 1 }))).toEqual({
      decision: 'postponed',
      until: now + hour,
    })
    expect(decide(facts({ offer, now: now + hour }))).toEqual({ decision: 'install' })
  })

  test('99 the deadline counts from the first offer that the server acknowledged', () => {
    expect(deadlineOf(facts())).toBe(now + 100 * hour)
    expect(deadlineOf(facts({ offer: { firstAt: undefined } }))).toBeUndefined()
    expect(deadlineOf(facts({ policy: feature }))).toBeUndefined()
  })

  test('99 and never moves earlier for the same release, but later it may', () => {
    const exploited = { postpone: { eachH: 24, graceH: 24, maxCount: 3, totalH: 72 } }
    const offer = withDeadline(facts().offer, facts().task.policy)
    expect(deadlineOf(facts({ offer, policy: exploited }))).toBe(now + 100 * hour)
    expect(deadlineOf(facts({ policy: exploited }))).toBe(now + 72 * hour)
    const longer = { postpone: { eachH: 24, graceH: 24, maxCount: 3, totalH: 200 } }
    expect(deadlineOf(facts({ offer, policy: longer }))).toBe(now + 200 * hour)
  })

  test('ends with an advisory that the owner had not seen', () => {
    const postponed = [put(now, now + hour)]
    const later = { offer: { postponed, advisoryAt: now + 1 }, now: now + 2 }
    expect(decide(facts(later))).toEqual({ decision: 'install' })
    // With a notice they are asked again first; what they put off since then holds.
    expect(decide(facts({ ...later, noticeMs: 10 }))).toEqual({ decision: 'ask', until: now + 11 })
    const again = { ...later.offer, postponed: [...postponed, put(now + 2, now + hour)] }
    expect(decide(facts({ ...later, offer: again })).decision).toBe('postponed')
  })
})

describe('what a kind of update lets the owner put off', () => {
  test('a security update whose policy names no limits has the usual ones', () => {
    const change = { policy: { postpone: undefined } }
    expect(postpone(facts(change), now + 72 * hour).allowed).toBe(true)
    expect(postpone(facts(change), now + 73 * hour).allowed).toBe(false)
  })

  test('a feature may be put off freely, a configuration not at all', () => {
    const free = { ...feature, postpone: undefined }
    expect(postpone(facts({ policy: free }), now + 300 * 24 * hour).allowed).toBe(true)
    expect(postpone(facts({ policy: free }), now + 367 * 24 * hour).allowed).toBe(false)
    expect(postpone(facts({ policy: { class: 'config' } }), now + hour).allowed).toBe(false)
    expect(postpone(facts(), now - 1).allowed).toBe(false)
  })
})

test.each([
  [['22:00-06:00'], 23 * 60, true],
  [['22:00-06:00'], 5 * 60 + 59, true],
  [['22:00-06:00'], 6 * 60, false],
  [['10:00-12:00'], 10 * 60, true],
  [['10:00-12:00'], 12 * 60, false],
  [['at night'], 0, false],
  [[], 0, false],
])('windows %j at minute %d: %s', (windows, minutes, expected) => {
  expect(isInWindow(windows, minutes)).toBe(expected)
})
