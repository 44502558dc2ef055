import { expect, test } from 'vitest'

import { PollLoad } from '../../../server/ddi/poll-load.ts'
import { secondsUntilPoll, sleepOf } from '../../../server/ddi/sleep.ts'
import { watchHerd } from '../../support/poll-herd.ts'

const now = new Date('2026-11-26T12:00:00Z')
const calm = { poll_seconds: 600, wants_attributes: false }
const none = (reason: string, inSeconds?: number) => ({
  link: 'none' as const,
  reason,
  ...(inSeconds === undefined ? {} : { until: new Date(now.getTime() + inSeconds * 1_000) }),
})

test.each([
  ['nothing to do', none('nothing-to-do'), false, 600],
  ['a rollout that may take it later', none('nothing-to-do'), true, 300],
  ['an offer', { link: 'deploymentBase', handling: 'attempt' } as const, false, 30],
  ['a cancellation', { link: 'cancelAction' } as const, false, 30],
  ['a claim to prove', none('proof-outstanding'), false, 60],
  ['an update put off for 400 s', none('postponed', 400), false, 400],
  ['an update put off for a day', none('postponed', 86_400), false, 600],
  ['a try again in a second', none('retry-later', 1), false, 30],
  ['one that is late already', none('retry-later', -50), false, 30],
])('with %s', (_what, shown, waits, seconds) => {
  expect(secondsUntilPoll(calm, { shown, waits, now })).toBe(seconds)
})

test('a device that is asked something comes soon; a product that polls faster still is left to it', () => {
  const shown = none('nothing-to-do')
  const asked = { poll_seconds: 600, wants_attributes: true }
  expect(secondsUntilPoll(asked, { shown, waits: false, now })).toBe(60)
  const quick = { poll_seconds: 40, wants_attributes: false }
  expect(secondsUntilPoll(quick, { shown, waits: true, now })).toBe(30)
})

const secondsOf = (sleep: string) => {
  const [h = 0, m = 0, s = 0] = sleep.split(':').map(Number)
  return h * 3_600 + m * 60 + s
}

test('stretched, sleeps are longer in the mean and spread wide, and never beyond an hour', () => {
  const sleeps = (seconds: number, stretch: number) =>
    Array.from({ length: 500 }, (_, n) => secondsOf(sleepOf(`d-${n}`, seconds, now, stretch)))
  const mean = (all: number[]) => all.reduce((sum, one) => sum + one, 0) / all.length
  expect(mean(sleeps(300, 1))).toBeCloseTo(300, -1.3)
  expect(mean(sleeps(300, 3))).toBeGreaterThan(800)
  expect(mean(sleeps(300, 3))).toBeLessThan(1_000)
  expect(Math.min(...sleeps(300, 3))).toBeLessThan(330)
  expect(Math.max(...sleeps(300, 8))).toBeLessThanOrEqual(3_600)
  expect(new Set(sleeps(300, 8)).size).toBeGreaterThan(400)
  // A product whose calm is longer than that keeps it.
  expect(sleeps(7_200, 8)).toEqual(sleeps(7_200, 1))
})

test('the stretch follows the rate, up to eight, and goes back by itself', () => {
  let nowMs = 0
  const load = new PollLoad({ monotonicMs: () => nowMs, target: 100 })
  const during = (perSecond: number, seconds: number) => {
    for (let n = 0; n < perSecond * seconds; n++) {
      nowMs += 1_000 / perSecond
      load.arrive()
    }
  }
  during(80, 60)
  expect(load.stretch()).toBe(1)
  during(300, 60)
  expect(load.stretch()).toBeGreaterThan(2.8)
  expect(load.stretch()).toBeLessThan(3.1)
  during(5_000, 30)
  expect(load.stretch()).toBe(8)
  nowMs += 120_000
  expect(load.stretch()).toBe(1)
})

test('a herd after an outage is read no faster than the bound, answered within minutes, and comes apart', () => {
  const load = { target: 60, reads: 60, atOnce: 120 }
  const given = { devices: 3_000, pollSeconds: 300, withinSeconds: 5, seconds: 2_700, load }
  const { polls, reads, refused, allAnsweredAt, longestSleep } = watchHerd(given)
  expect(polls[0]).toBe(600)
  expect(Math.max(...reads)).toBeLessThanOrEqual(load.reads + load.atOnce)
  expect(refused.reduce((sum, one) => sum + one, 0)).toBeGreaterThan(300)
  expect(allAnsweredAt).toBeGreaterThan(0)
  expect(allAnsweredAt).toBeLessThan(900)
  expect(longestSleep).toBeLessThanOrEqual(3_600)
  // In the end nobody is refused, and no second has many more polls than the mean of 3,000 / 300.
  const last = polls.slice(-900)
  expect(refused.slice(-900).every((one) => one === 0)).toBe(true)
  expect(Math.max(...last)).toBeLessThan(40)
})
