import { createHash } from 'node:crypto'

import { expect, test } from 'vitest'

import { bucketOf, phaseOf } from '../../../server/rollouts/bucket.ts'

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

test('a share that grows keeps everybody it had', () => {
  const buckets = deviceIds.slice(0, 2_000).map((id) => bucketOf(seed, id))
  const percents = [1, 5, 33.333, 80, 100]
  for (const bucket of buckets) {
    const admitted = percents.map((_, n) => phaseOf(bucket, percents.slice(0, n + 1)))
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
  expect(phaseOf(bucket, percents)).toBe(phase)
})
