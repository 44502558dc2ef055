import { describe, expect, test } from 'vitest'

import { readCbor, writeCbor } from '../../../server/ddi/cbor.ts'
import { mergeAttributes } from '../../../server/ddi/config-data.ts'
import { readFeedback } from '../../../server/ddi/feedback.ts'

const feedback = {
  timestamp: 1_627_997_501_890,
  status: {
    execution: 'closed',
    details: ['Zeile 1', 'ünïcode', ''],
    result: { finished: 'success', progress: { cnt: 2, of: 5 } },
  },
  data: { VIN: 'x', n: -7, half: 1.5, yes: true, none: null },
}
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')
/** The same pseudo-random numbers each time. */
function* numbers(seed: number): Generator<number, never> {
  let state = seed
  for (;;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    yield state >>> 8
  }
}

test('what JSON can say comes back as it was', () => {
  expect(readCbor(writeCbor(feedback))).toEqual(feedback)
  for (const one of [{}, [], 'text', 0, -1, 1.25, true, null, [{ a: [] }], { a: {} }]) {
    expect(readCbor(writeCbor(one))).toEqual(one)
  }
  expect(writeCbor({ a: undefined })).toEqual(hex('a0'))
})

describe('is not taken', () => {
  test.each([
    ['nothing', ''],
    ['a key twice', 'a2 6161 01 6161 02'],
    ['a key that is no text', 'a1 01 02'],
    ['an array of indefinite length', '9f 01 ff'],
    ['a map of indefinite length', 'bf 6161 01 ff'],
    ['text of indefinite length', '7f 6161 ff'],
    ['a tag', 'c0 6161'],
    ['a large number as a tag', 'c2 41 01'],
    ['bytes', '43 010203'],
    ['undefined', 'f7'],
    ['NaN', 'f9 7e00'],
    ['infinity', 'f9 7c00'],
    ['a number beyond 2^53', '1b 0020000000000001'],
    ['a number longer than it has to be', '18 01'],
    ['more after the end', '01 01'],
    ['an array that is cut off', '83 01 02'],
    ['text that is cut off', '65 6161'],
    ['an array of four thousand million', '9a ffffffff 01'],
    ['a map of 2^64 - 1', 'bb ffffffffffffffff'],
    ['text of 2^64 - 1', '7b ffffffffffffffff 61'],
    ['a reserved length', '1c 00'],
    ['a head that is cut off', '19 01'],
    ['JSON', Buffer.from('{"status":{}}').toString('hex')],
  ])('%s', (_name, bytes) => {
    expect(readCbor(hex(bytes))).toBeUndefined()
  })

  test('what is deeper than sixteen, before it is decoded', () => {
    const nested = (depth: number) => Buffer.from([...Array<number>(depth).fill(0x81), 0x01])
    expect(readCbor(nested(16))).toBeDefined()
    expect(readCbor(nested(17))).toBeUndefined()
    expect(readCbor(nested(200_000))).toBeUndefined()
  })
})

test('__proto__ is a key like any other', () => {
  const read = readCbor(hex('a1 69 5f5f70726f746f5f5f a1 6161 01')) as object
  expect(Object.keys(read)).toEqual(['__proto__'])
  expect(Object.getPrototypeOf(read)).toBe(Object.prototype)
})

test('5,000 mutations: read or not taken, and what is read is written as JSON for the readers of it', () => {
  const source = numbers(8_949)
  const next = (below: number) => source.next().value % below
  const plain = writeCbor(feedback)
  let read = 0
  for (let n = 0; n < 5_000; n++) {
    const bytes = Buffer.from(plain.subarray(0, next(4) === 0 ? next(plain.length) : plain.length))
    for (let change = next(3); change >= 0 && bytes.length > 0; change--)
      bytes[next(bytes.length)] = next(256)
    const said = readCbor(bytes)
    if (said === undefined) continue
    read++
    const json = Buffer.from(JSON.stringify(said))
    expect(['plain', 'guessed', 'unreadable']).toContain(readFeedback(json).read)
    mergeAttributes({}, json)
  }
  // Both happen: otherwise nothing is tried here.
  expect(read).toBeGreaterThan(500)
  expect(read).toBeLessThan(4_500)
})
