import { expect, test } from 'vitest'

import { maxPayloadBytes, payloadsOf } from '../../server/bus-payloads.ts'

const lengths = (words: string[]) =>
  payloadsOf(words).payloads.map((payload) => Buffer.byteLength(payload))

test('what is exactly as long as PostgreSQL takes is one payload, a byte more is two', () => {
  const words = (last: number) => ['x'.repeat(3_999), 'y'.repeat(last)]
  expect(lengths(words(3_999))).toEqual([maxPayloadBytes])
  expect(lengths(words(4_000))).toEqual([3_999, 4_000])
  expect(lengths(['z'.repeat(maxPayloadBytes)])).toEqual([maxPayloadBytes])
})

test('every word is in one payload, in order, whatever their lengths; bytes count and not characters', () => {
  const words = Array.from({ length: 5_000 }, (_, n) => `${n}-${'é'.repeat(n % 90)}`)
  const { payloads, tooLong } = payloadsOf(words)
  expect(payloads.flatMap((payload) => payload.split(','))).toEqual(words)
  expect(tooLong).toEqual([])
  for (const length of lengths(words)) expect(length).toBeLessThanOrEqual(maxPayloadBytes)
  for (const length of lengths(words).slice(0, -1)) expect(length).toBeGreaterThan(7_700)
})

test('a word that fits nowhere is named, and keeps nothing else from being sent', () => {
  const long = 'é'.repeat(4_000)
  expect(payloadsOf(['a', long, 'b'])).toEqual({ payloads: ['a,b'], tooLong: [long] })
  expect(payloadsOf([])).toEqual({ payloads: [], tooLong: [] })
})
