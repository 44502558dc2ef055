import { expect, test } from 'vitest'

import { makeDelta, noise } from '../../support/delta-fixture.ts'

const [head, middle, tail] = ['a', 'b', 'c'].map((seed) => noise(seed, 400_000))
const whole = (...parts: (Buffer | undefined)[]) =>
  Buffer.concat(parts.map((part) => part ?? Buffer.alloc(0)))
const blocks = (length: number) => Math.ceil(length / 16_384)

test('what moved far is found again, also across the whole image', async () => {
  const old = whole(head, middle, tail)
  const next = whole(tail, noise('new', 900), head, middle)
  const { bytes } = await makeDelta(old, next)
  expect(bytes.length).toBeLessThan(next.length / 25)
})

test('what is nowhere in the old image is not looked for at a wrong place', async () => {
  const { bytes, delta } = await makeDelta(whole(head), whole(middle))
  expect(bytes.length).toBeGreaterThan(400_000)
  expect(delta.blocks).toHaveLength(blocks(400_000))
  const middles = delta.blocks.map(
    ({ start, length, windowOffset }) => start + length / 2 - windowOffset - 32_768,
  )
  // But for the ends, where a window cannot lie around its block.
  expect(middles.slice(2, -3).every((distance) => Math.abs(distance) <= 1)).toBe(true)
})

test('runs of one byte, which are everywhere, draw no window away', async () => {
  const empty = Buffer.alloc(300_000, 0xff)
  const { delta } = await makeDelta(whole(head, empty), whole(head, empty, Buffer.from('x')))
  const [first] = delta.blocks.filter(({ start }) => start > 100_000)
  expect(Math.abs((first?.windowOffset ?? 0) - (first?.start ?? 0))).toBeLessThan(65_536)
})

test('an image of another length, or none, is no trouble', async () => {
  for (const old of [Buffer.alloc(0), Buffer.from('x'), whole(head, tail)]) {
    const { delta } = await makeDelta(old, whole(head))
    expect(delta.newLength).toBe(400_000)
  }
})

test('a window that begins like a dictionary of zstd is not used', async () => {
  const old = Buffer.concat([Buffer.from('37a430ec', 'hex'), noise('d', 60_000)])
  const { delta } = await makeDelta(old, old)
  expect(delta.blocks.every(({ windowLength }) => windowLength === 0)).toBe(true)
})
