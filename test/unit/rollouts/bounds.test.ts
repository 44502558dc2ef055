import { expect, test } from 'vitest'

import type { Standing } from '../../../server/rollouts/bounds-store.ts'
import { trim, type Wanted } from '../../../server/rollouts/bounds.ts'

const now = new Date('2026-11-26T10:00:00Z')

const standing = (id: string, more: Partial<Standing> = {}): Standing => ({
  id,
  phase_no: 1,
  priority: 500,
  pass_queue: false,
  is_security: false,
  created_at: now,
  max_in_flight: null,
  bytes_per_minute: null,
  size: 0,
  rate_us: null,
  bytes_us: null,
  phases: [{ no: 1, kind: 'percent', count: null, admitted: 0, rate: null }],
  in_flight: 0,
  succeeded: 0,
  all_in_flight: 0,
  ...more,
})
const wanted = (rolloutId: string, bucket: number, more: Partial<Wanted> = {}): Wanted => ({
  rolloutId,
  deviceId: `${rolloutId}${bucket}`,
  releaseId: 'r',
  component: 'main',
  phaseNos: [1],
  bucket,
  bounded: true,
  ...more,
})
const run = (
  all: readonly Wanted[],
  standings: readonly Standing[],
  maxInFlight?: number,
  inFlight = 0,
) => {
  const overall = maxInFlight === undefined ? undefined : { maxInFlight, inFlight }
  const { admissions, withheld } = trim(
    all,
    new Map(standings.map((one) => [one.id, one])),
    overall,
    now,
  )
  return {
    in: admissions.map((one) => `${one.deviceId}/${one.phaseNo}`),
    out: withheld.map((one) => `${one.deviceId} ${one.reason}`),
    withheld,
  }
}

test('slots go to who goes on, then by bucket', () => {
  const all = [
    wanted('a', 0.5),
    wanted('a', 0.9, { continues: true }),
    wanted('a', 0.1),
    wanted('a', 0.7),
  ]
  const { in: met, out } = run(all, [standing('a', { max_in_flight: 5, in_flight: 3 })])
  expect(met).toEqual(['a0.9/1', 'a0.1/1'])
  expect(out).toEqual(['a0.5 no-slot', 'a0.7 no-slot'])
})

test('the bound over all goes to what passes the queue, priority, security, age', () => {
  const standings = [
    standing('old', { created_at: new Date(0) }),
    standing('new'),
    standing('fix', { is_security: true }),
    standing('high', { priority: 501 }),
    standing('urgent', { priority: 0, is_security: true, pass_queue: true }),
  ]
  const all = standings.map((one) => wanted(one.id, 0))
  expect(run(all, standings, 5).in).toEqual(['urgent0/1', 'high0/1', 'fix0/1', 'old0/1', 'new0/1'])
  expect(run(all, standings, 5, 3).in).toEqual(['urgent0/1', 'high0/1'])
})

test('a tenth of the bound over all is kept for what passes the queue, and never all of it', () => {
  const standings = [standing('a'), standing('urgent', { pass_queue: true })]
  const ordinary = Array.from({ length: 20 }, (_, n) => wanted('a', n))
  const urgent = Array.from({ length: 20 }, (_, n) => wanted('urgent', n))
  expect(run(ordinary, standings, 20).in).toHaveLength(18)
  expect(run(urgent, standings, 20, 18).in).toHaveLength(2)
  expect(run(ordinary, standings, 20, 18).in).toHaveLength(0)
  expect(run(ordinary, standings, 1).in).toHaveLength(1)
})

test('a count that is full sends the next one to a later phase, or away; who goes on is not counted again', () => {
  const phases: Standing['phases'] = [
    { no: 1, kind: 'count', count: 2, admitted: 1, rate: null },
    { no: 2, kind: 'percent', count: null, admitted: 0, rate: null },
  ]
  const all = [
    wanted('a', 0.1, { phaseNos: [1, 2] }),
    wanted('a', 0.2, { phaseNos: [1, 2] }),
    wanted('a', 0.3),
    wanted('a', 0.4, { continues: true }),
  ]
  const { in: met, out } = run(all, [standing('a', { phase_no: 2, phases })])
  expect(met).toEqual(['a0.4/1', 'a0.1/1', 'a0.2/2'])
  expect(out).toEqual(['a0.3 not-in-phase'])
})

test('a rate says until when; a bound by bytes counts what the images weigh', () => {
  const phases: Standing['phases'] = [
    { no: 1, kind: 'percent', count: null, admitted: 0, rate: { perMinute: 24 } },
  ]
  const all = [wanted('a', 0.1), wanted('a', 0.2), wanted('a', 0.3)]
  const paced = run(all, [standing('a', { phases })])
  expect(paced.in).toHaveLength(2)
  const [{ until } = { until: null }] = paced.withheld
  expect(until?.getTime()).toBeGreaterThan(now.getTime() + 2_600)
  expect(until?.getTime()).toBeLessThan(now.getTime() + 2_700)
  expect(run(all, [standing('a', { bytes_per_minute: 240, size: 10 })]).in).toHaveLength(2)
  expect(run(all, [standing('a', { bytes_per_minute: 240, size: 240 })]).in).toHaveLength(1)
})

test('a rate that cannot be read admits nobody, a rollout that does not run neither', () => {
  const phases: Standing['phases'] = [
    { no: 1, kind: 'percent', count: null, admitted: 0, rate: { perDay: 1 } },
  ]
  expect(() => run([wanted('a', 0)], [standing('a', { phases })])).toThrow()
  expect(run([wanted('a', 0)], []).in).toEqual([])
})
