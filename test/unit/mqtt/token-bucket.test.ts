import { expect, test } from 'vitest'

import { TokenBucket } from '../../../server/mqtt/token-bucket.ts'

const takeAll = (bucket: TokenBucket, tries: number) =>
  Array.from({ length: tries }, () => bucket.take()).filter(Boolean).length

test('lets the burst through, then the rate, and never more than the burst', () => {
  let now = 1_000
  const bucket = new TokenBucket(20, 100, () => now)
  expect(takeAll(bucket, 500)).toBe(100)
  now += 1_000
  expect(takeAll(bucket, 500)).toBe(20)
  now += 49
  expect(bucket.take()).toBe(false)
  now += 1
  expect(bucket.take()).toBe(true)
  now += 3_600_000
  expect(takeAll(bucket, 500)).toBe(100)
})
