import { createHash } from 'node:crypto'

import { expect, test } from 'vitest'

import type { OpenPhase } from '../../../server/db/open-phases.ts'
import { bucketOf, phasesFor } from '../../../server/rollouts/bucket.ts'

const seed = Buffer.alloc(16, 7)
const deviceIds = Array.from({ length: 20_000 }, (_, n) => {
  const hex = createHash('sha256').update(`device ${n}`).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
})

test('is the same for ever', () => {
  const bucket = bucketOf(seed, '0192f3c4-7d1e-7c3a-9b5e-2f60a1c4d7e8')
  const digest = createHash('sha256')
    .update(Buffer.concat([seed, Buffer.from('0192f3c47d1e7c3a9b5e2f60a1c4d7e8', 'hex')]))
    .digest('hex')
  expect(bucket).toBe(Number(BigInt(`0x${digest.slice(0, 13)}`)) / 2 ** 52)
})

test('spreads devices evenly: chi-square over 100 classes', () => {
  const classes = 100
  const counts = Array.from({ length: classes }, () => 0)
  for (const id of deviceIds) {
    const index = Math.floor(bucketOf(seed, id) * classes)
    counts[index] = (counts[index] ?? 0) + 1
  }
  const expected = deviceIds.length / classes
  const chiSquare = counts.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0)
  // 99 degrees of freedom: 0.1 % of fair hashes are above 148.2.
  expect(chiSquare).toBeLessThan(148.2)
})

test('another seed puts other devices first', () => {
  const first = (by: Buffer) => deviceIds.filter((id) => bucketOf(by, id) < 0.1)
  const others = new Set(first(Buffer.alloc(16, 8)))
  const both = first(seed).filter((id) => others.has(id))
  // A tenth of a tenth.
  expect(both.length).toBeGreaterThan(120)
  expect(both.length).toBeLessThan(280)
})

const now = new Date('2026-11-26T10:00:00Z')
const ago = (days: number) => new Date(now.getTime() - days * 86_400_000)
const nobody: OpenPhase = {
  no: 1,
  kind: 'percent',
  percent: null,
  count: null,
  admitted: 0,
  seen_within_s: null,
  in_cohort: false,
}
const shares = (percents: readonly number[]) =>
  percents.map((percent, n): OpenPhase => ({ ...nobody, no: n + 1, percent }))
const phaseOf = (bucket: number, phases: readonly OpenPhase[], seenAt: Date | null = null) =>
  phasesFor({ bucket, seenAt }, phases, now)[0]

test('a share that grows keeps everybody it had', () => {
  const buckets = deviceIds.slice(0, 2_000).map((id) => bucketOf(seed, id))
  const percents = [1, 5, 33.333, 80, 100]
  for (const bucket of buckets) {
    const admitted = percents.map((_, n) => phaseOf(bucket, shares(percents.slice(0, n + 1))))
    const first = admitted.findIndex((phase) => phase !== undefined)
    expect(first).toBeGreaterThanOrEqual(0)
    expect(admitted.slice(first)).toEqual(percents.slice(first).map(() => first + 1))
  }
})

test.each([
  [0, [10], 1],
  [0.0999, [10, 50], 1],
  [0.1, [10, 50], 2],
  [0.5, [10, 50], undefined],
  [0.999_999, [10, 100], 2],
  [0, [], undefined],
])('bucket %d of phases %j is in phase %s', (bucket, percents, phase) => {
  expect(phaseOf(bucket, shares(percents))).toBe(phase)
})

test('a count takes whoever comes until it is full, a cohort those who are in it', () => {
  const count: OpenPhase = { ...nobody, kind: 'count', count: 2, admitted: 1 }
  const cohort: OpenPhase = { ...nobody, kind: 'cohort', in_cohort: true }
  expect(phaseOf(0.99, [count])).toBe(1)
  expect(phaseOf(0, [{ ...count, admitted: 2 }])).toBeUndefined()
  expect(phaseOf(0.99, [cohort])).toBe(1)
  expect(phaseOf(0, [{ ...cohort, in_cohort: false }])).toBeUndefined()
})

test('a device may fit several phases: it is in the first that has room', () => {
  const [share] = shares([50])
  if (!share) throw new Error('no phase')
  const phases = [
    { ...nobody, kind: 'count' as const, count: 2 },
    { ...share, no: 2 },
  ]
  expect(phasesFor({ bucket: 0.2, seenAt: null }, phases, now)).toEqual([1, 2])
  expect(phasesFor({ bucket: 0.7, seenAt: null }, phases, now)).toEqual([1])
})

test('a phase may want only devices that were heard of lately', () => {
  const recent = shares([100]).map((phase) => ({ ...phase, seen_within_s: 7 * 86_400 }))
  expect(phaseOf(0, recent, ago(7))).toBe(1)
  expect(phaseOf(0, recent, ago(7.001))).toBeUndefined()
  // Its first contact is now.
  expect(phaseOf(0, recent, null)).toBe(1)
})
