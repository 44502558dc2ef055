import { describe, expect, test } from 'vitest'

import type { WindowFacts } from '../../../server/db/window-facts.ts'
import { bucketOf } from '../../../server/rollouts/bucket.ts'
import { windowVerdict } from '../../../server/rollouts/window-place.ts'
import { WindowRule } from '../../../server/rollouts/window-wire.ts'

const zone = 'Europe/Berlin'
const ruleOf = (given: object) => WindowRule.parse({ duration: 'PT4H', zone, ...given })
const nightly = ruleOf({ cron: '0 1 * * *' })
const factsOf = (given: Partial<WindowFacts>): WindowFacts => ({
  rule: null,
  rules: null,
  calendars: null,
  ignore: null,
  neededMs: null,
  ...given,
})
const minute = 60_000
const now = (text: string) => new Date(text)

test('nothing said: always open', () => {
  expect(windowVerdict(factsOf({}), 0.5, now('2026-12-01T12:00:00Z'))).toEqual({
    open: true,
    until: null,
    next: null,
  })
})

test('open inside, closed outside, with the next time', () => {
  const facts = factsOf({ rule: nightly })
  expect(windowVerdict(facts, 0, now('2026-12-01T00:00:00Z'))).toEqual({
    open: true,
    until: now('2026-12-01T04:00:00Z'),
    next: null,
  })
  expect(windowVerdict(facts, 0, now('2026-12-01T04:00:00Z'))).toEqual({
    open: false,
    until: null,
    next: now('2026-12-02T00:00:00Z'),
  })
})

test('each device has its place in the first hour, whatever its phase', () => {
  const facts = factsOf({ rule: nightly })
  const seed = Buffer.alloc(16, 7)
  const buckets = Array.from({ length: 4_000 }, (_, n) =>
    bucketOf(seed, `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`),
  )
  for (const few of [buckets, buckets.filter((bucket) => bucket < 0.05)]) {
    const openAt = (minutes: number) => {
      const at = new Date(now('2026-12-01T00:00:00Z').getTime() + minutes * minute)
      return few.filter((bucket) => windowVerdict(facts, bucket, at).open).length / few.length
    }
    expect(openAt(0)).toBeLessThan(0.02)
    expect(openAt(15)).toBeGreaterThan(0.15)
    expect(openAt(15)).toBeLessThan(0.35)
    expect(openAt(45)).toBeGreaterThan(0.65)
    expect(openAt(45)).toBeLessThan(0.85)
    expect(openAt(60)).toBe(1)
  }
})

test('what is asked again comes at the time that was said', () => {
  const facts = factsOf({ rule: nightly })
  for (const bucket of [0, 0.1, 0.123_456_7, 0.999_999_9]) {
    const { next } = windowVerdict(facts, bucket, now('2026-12-01T12:00:00Z'))
    expect(windowVerdict(facts, bucket, next ?? now('2000-01-01T00:00:00Z')).open).toBe(true)
    const before = new Date((next?.getTime() ?? 0) - 1)
    expect(windowVerdict(facts, bucket, before).open).toBe(false)
  }
})

describe('time that is left', () => {
  test('less than the release takes: the next opening', () => {
    const facts = factsOf({ rule: nightly, neededMs: 90 * minute })
    expect(windowVerdict(facts, 0, now('2026-12-01T02:30:00Z')).open).toBe(true)
    expect(windowVerdict(facts, 0, now('2026-12-01T02:30:01Z'))).toMatchObject({
      open: false,
      next: now('2026-12-02T00:00:00Z'),
    })
  })
  test('an opening that is too short is passed over; one that never is long enough is never', () => {
    const short = ruleOf({ cron: '0 1 * * *', blackout: ['2026-12-02'] })
    const evening = ruleOf({ cron: '0 22 * * *' })
    const facts = factsOf({ rule: evening, calendars: [{ zone, dates: short.blackout }] })
    const needs = { ...facts, neededMs: 180 * minute }
    expect(windowVerdict(needs, 0, now('2026-12-01T20:00:00Z')).next).toEqual(
      now('2026-12-03T21:00:00Z'),
    )
    const never = factsOf({ rule: nightly, neededMs: 241 * minute })
    expect(windowVerdict(never, 0, now('2026-12-01T12:00:00Z')).next).toBeNull()
  })
  test('a device whose place comes late still has enough of it', () => {
    const facts = factsOf({ rule: nightly, neededMs: 235 * minute })
    for (let bucket = 0; bucket < 1; bucket += 0.01) {
      const { next } = windowVerdict(facts, bucket, now('2026-12-01T12:00:00Z'))
      expect(next?.getTime()).toBeLessThanOrEqual(now('2026-12-02T00:05:00Z').getTime())
    }
  })
})

describe('precedence', () => {
  const at = now('2026-12-01T12:00:00Z')
  test('device, groups and rollout must all be open', () => {
    const noon = ruleOf({ cron: '0 12 * * *' })
    const rules = [noon, ruleOf({ cron: '0 11 * * *' })]
    expect(windowVerdict(factsOf({ rules }), 0, at).open).toBe(true)
    expect(windowVerdict(factsOf({ rules, rule: nightly }), 0, at).open).toBe(false)
    expect(windowVerdict(factsOf({ rules: [...rules, nightly] }), 0, at).open).toBe(false)
  })
  test('who passes windows passes those of groups and devices, and blackouts only when that is said', () => {
    const calendars = [{ zone, dates: ['2026-12-01'] }]
    const ignore = { reason: 'CVE', blackouts: false }
    const verdict = (given: Partial<WindowFacts>) => windowVerdict(factsOf(given), 0, at).open
    expect(verdict({ rules: [nightly] })).toBe(false)
    expect(verdict({ rules: [nightly], ignore })).toBe(true)
    expect(verdict({ rules: [nightly], ignore, calendars })).toBe(false)
    expect(verdict({ rules: [nightly], ignore: { ...ignore, blackouts: true }, calendars })).toBe(
      true,
    )
    expect(verdict({ rule: nightly, ignore })).toBe(false)
  })
  test.each([
    { rule: { cron: 'nonsense' } },
    { rule: 'x' },
    { rules: [{ ...nightly, zone: 'Europe/Nowhere' }] },
    { rules: [{ ...nightly, cron: '61 1 * * *' }] },
    { calendars: [{ zone: 'Europe/Nowhere', dates: ['2026-12-01'] }] },
    { calendars: [{ dates: [] }] },
    { rules: [nightly], ignore: { because: 1 } },
  ])('what nobody can understand is closed: %j', (given) => {
    expect(windowVerdict(factsOf(given), 0, at)).toEqual({ open: false, until: null, next: null })
  })
})
