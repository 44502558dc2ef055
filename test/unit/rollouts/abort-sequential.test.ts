import { createHash } from 'node:crypto'

import { describe, expect, test } from 'vitest'

import {
  evidence,
  falseStops,
  isUnusual,
  suspect,
  usualShare,
} from '../../../server/rollouts/abort-sequential.ts'

/** Numbers from 0 to 1 that are the same for a seed on every machine. */
function* drawsOf(seed: string) {
  for (let block = 0; ; block++) {
    const digest = createHash('sha512').update(`${seed} ${block}`).digest()
    for (let at = 0; at < 64; at += 4) yield digest.readUInt32BE(at) / 2 ** 32
  }
}

/** How many devices came to an end when the test stopped; undefined when it never did. */
function stoppedAfter(seed: string, failing: number, usual: number, most: number) {
  let failed = 0
  let n = 0
  for (const draw of drawsOf(seed)) {
    n++
    if (draw < failing) failed++
    if (isUnusual({ succeeded: n - failed, failed }, usual)) return { n, failed }
    if (n >= most) return undefined
  }
  throw new Error('draws do not end')
}

const runs = (count: number, run: (seed: string) => ReturnType<typeof stoppedAfter>) =>
  Array.from({ length: count }, (_, seed) => run(String(seed)))
const mean = (values: readonly number[]) => values.reduce((sum, n) => sum + n, 0) / values.length

test('what is usual: bounded, and a few devices do not make a history', () => {
  expect(usualShare({ failed: 0, executed: 0 })).toBe(0.005)
  expect(usualShare({ failed: 20, executed: 10_000 })).toBeCloseTo(0.002_06, 5)
  expect(usualShare({ failed: 0, executed: 1_000_000 })).toBe(0.002)
  expect(usualShare({ failed: 900, executed: 1_000 })).toBe(0.2)
  expect(usualShare({ failed: 3, executed: 3 })).toBeCloseTo(4 / 203, 9)
})

test('what it tells from that: three times as many, two of a hundred more at least', () => {
  expect(suspect(0.002)).toBeCloseTo(0.022, 9)
  expect(suspect(0.005)).toBeCloseTo(0.025, 9)
  expect(suspect(0.04)).toBeCloseTo(0.12, 9)
})

test('successes speak for a release, failures against it, and no single one decides', () => {
  expect(evidence({ succeeded: 10, failed: 0 }, 0.005)).toBeLessThan(0)
  expect(evidence({ succeeded: 0, failed: 1 }, 0.005)).toBeGreaterThan(0)
  for (const usual of [0.002, 0.005, 0.05, 0.2])
    for (const failed of [0, 1, 2]) expect(isUnusual({ succeeded: 0, failed }, usual)).toBe(false)
})

// The figures of docs/rollouts.md: usual is 0.2 %, each of 200 seeds.
describe('releases that fail more often than the usual 0.2 %', () => {
  test.each([
    { failing: 0.03, devices: 170, failures: 5, worst: 900 },
    { failing: 0.1, devices: 42, failures: 4, worst: 120 },
    { failing: 0.5, devices: 7, failures: 4, worst: 25 },
  ])('$failing: stopped early', ({ failing, devices, failures, worst }) => {
    const stops = runs(200, (seed) => stoppedAfter(seed, failing, 0.002, 1_000))
    const found = stops.flatMap((stop) => stop ?? [])
    // Before a hundredth of 100,000 devices have it, every time.
    expect(found).toHaveLength(200)
    expect(mean(found.map(({ n }) => n))).toBeLessThan(devices)
    expect(mean(found.map(({ failed }) => failed))).toBeLessThan(failures)
    expect(Math.max(...found.map(({ n }) => n))).toBeLessThan(worst)
  })
})

test.each([0.002, 0.005, 0.02])('a release that is as good as usual, %d, goes through', (usual) => {
  const stops = runs(100, (seed) => stoppedAfter(`good ${seed}`, usual, usual, 4_000))
  const stopped = stops.filter((stop) => stop !== undefined).length
  // At most one in a thousand is: two of these hundred would be one chance in two hundred.
  expect(falseStops).toBe(0.001)
  expect(stopped).toBeLessThanOrEqual(1)
})
