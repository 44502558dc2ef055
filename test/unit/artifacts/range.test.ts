import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { multipartOf } from '../../../server/artifacts/byte-ranges.ts'
import { mostRanges, selectRange } from '../../../server/artifacts/range.ts'

const etag = '"a"'
const select = (range: string, size = 1_000) =>
  selectRange({ range, ifRange: undefined }, { size, etag })
const parts = (...of: [number, number][]) => ({
  kind: 'parts',
  parts: of.map(([start, end]) => ({ start, end })),
})

describe('several ranges', () => {
  test.each([
    ['bytes=0-1,5-9', parts([0, 1], [5, 9])],
    ['in the order asked for', parts([5, 9], [0, 1]), 'bytes=5-9,0-1'],
    ['from the end', parts([0, 0], [998, 999]), 'bytes=0-0, -2'],
    ['those outside are left out', parts([0, 1], [5, 9]), 'bytes=0-1,2000-,5-9,-0'],
    ['empty elements mean nothing', parts([0, 1], [5, 9]), 'bytes=,0-1 ,, 5-9,'],
    ['one left is one', { kind: 'part', start: 5, end: 9 }, 'bytes=5-9,2000-'],
    ['overlapping', { kind: 'part', start: 0, end: 20 }, 'bytes=0-10,5-20'],
    ['touching', { kind: 'part', start: 0, end: 20 }, 'bytes=11-20,0-10'],
    ['one between joins two', parts([900, 999], [0, 30]), 'bytes=900-,0-10,20-30,11-19'],
    ['the same again', { kind: 'part', start: 0, end: 999 }, 'bytes=0-,0-,0-,0-'],
    ['none inside', { kind: 'unsatisfiable' }, 'bytes=2000-,3000-4000,-0'],
    ['one that is malformed', { kind: 'whole' }, 'bytes=0-1,x-9'],
    ['one that runs backwards', { kind: 'whole' }, 'bytes=0-1,9-5'],
    ['nothing but commas', { kind: 'whole' }, 'bytes=,,,'],
  ])('%s', (name, expected, range = name) => {
    expect(select(range)).toEqual(expected)
  })

  test('sixteen, and no more', () => {
    const of = (count: number) =>
      `bytes=${Array.from({ length: count }, (_, n) => `${n * 10}-${n * 10}`).join(',')}`
    expect(select(of(mostRanges))).toMatchObject({ kind: 'parts' })
    expect(select(of(mostRanges + 1))).toEqual({ kind: 'unsatisfiable' })
  })

  test('whatever is asked for, every byte that was is sent once and no other', () => {
    const edge = fc.integer({ min: 0, max: 60 })
    fc.assert(
      fc.property(fc.array(fc.tuple(edge, edge), { minLength: 1, maxLength: 16 }), (asked) => {
        const size = 50
        const sorted = asked.map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const)
        const got = select(`bytes=${sorted.map(([a, b]) => `${a}-${b}`).join(',')}`, size)
        const wanted = new Set<number>()
        for (const [a, b] of sorted) for (let n = a; n <= b && n < size; n++) wanted.add(n)
        const list = got.kind === 'parts' ? got.parts : got.kind === 'part' ? [got] : []
        const sent: number[] = []
        for (const { start, end } of list) for (let n = start; n <= end; n++) sent.push(n)
        expect(sent).toHaveLength(wanted.size)
        expect(new Set(sent)).toEqual(wanted)
      }),
      { numRuns: 300, seed: 9110 },
    )
  })
})

test('the boundary is another one each time, and the length is that of the body', () => {
  const two = [
    { start: 0, end: 1 },
    { start: 5, end: 9 },
  ]
  const [one, other] = [multipartOf(two, 10_000), multipartOf(two, 10_000)]
  expect(one.contentType).toMatch(/^multipart\/byteranges; boundary=[0-9a-f]{48}$/)
  expect(one.contentType).not.toBe(other.contentType)
  const heads = one.stretches.reduce((sum, { lead }) => sum + (lead?.length ?? 0), 0)
  expect(one.length).toBe(heads + 2 + 5 + one.tail.length)
})
