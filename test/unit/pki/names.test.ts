import { expect, test } from 'vitest'

import { sequence, setOf, tlv } from '../../../pki/der/writer.ts'
import { encodeName, readName } from '../../../pki/names.ts'
import { expectRefusal } from '../../support/pki-fixture.ts'

test('a name has O, CN and serialNumber in this order and these types', () => {
  const name = encodeName({ serialNumber: 'SN-1', commonName: 'Pump', organization: 'Test' })
  expect(readName(name)).toEqual([
    { oid: '2.5.4.10', value: 'Test', tag: 0x0c },
    { oid: '2.5.4.3', value: 'Pump', tag: 0x0c },
    { oid: '2.5.4.5', value: 'SN-1', tag: 0x13 },
  ])
})

test('C13 an ASCII common name is UTF8String, byte for byte', () => {
  const expected = '300f310d300b06035504030c0450756d70'
  expect(encodeName({ commonName: 'Pump' }).toString('hex')).toBe(expected)
  expect(encodeName({}).toString('hex')).toBe('3000')
})

test.each(['x'.repeat(64), '\u{1f512}'.repeat(64), '*', 'a, DNS:b', 'משאבה', 'Pümpe'])(
  'C14 the common name %s is kept as it is',
  (commonName) => {
    expect(readName(encodeName({ commonName }))[0]?.value).toBe(commonName)
  },
)

test.each([
  ['65 characters', 'x'.repeat(65)],
  ['empty', ''],
  ['NUL', 'a\0b'],
  ['line feed', 'a\nb'],
  ['right-to-left override', 'a\u202eb'],
  ['isolate', 'a\u2066b'],
  ['lone surrogate', 'a\ud800b'],
])('C14 a name is refused: %s', (_, text) => {
  expectRefusal(() => encodeName({ commonName: text }), 'profile')
  expectRefusal(() => encodeName({ organization: text }), 'profile')
  expectRefusal(() => encodeName({ serialNumber: text }), 'profile')
})

test('a serial number is printable', () => {
  expectRefusal(() => encodeName({ serialNumber: 'a_b' }), 'profile')
  expect(readName(encodeName({ serialNumber: 'A-1/2' }))).toHaveLength(1)
})

test('readName refuses what is no name, and more than 64 attributes', () => {
  expectRefusal(() => readName(Buffer.alloc(0)), 'der')
  expectRefusal(() => readName(sequence(setOf())), 'der')
  expectRefusal(() => readName(sequence(setOf(sequence()))), 'der')
  expectRefusal(() => readName(Buffer.concat([encodeName({}), Buffer.alloc(1)])), 'der')
  const one = encodeName({ commonName: 'x' }).subarray(2)
  const many = (count: number) => tlv(0x30, ...Array.from({ length: count }, () => one))
  expect(readName(many(64))).toHaveLength(64)
  expectRefusal(() => readName(many(65)), 'der')
})
