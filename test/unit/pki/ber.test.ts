import fc from 'fast-check'
import { expect, test } from 'vitest'

import { berToDer } from '../../../pki/der/ber.ts'
import { checkDer } from '../../../pki/der/check.ts'
import { PkiError } from '../../../pki/errors.ts'
import { expectRefusal } from '../../support/pki-fixture.ts'

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')
const convert = (text: string) => berToDer(hex(text), 1000).toString('hex')

test.each([
  ['DER stays as it is', '30 06 02 01 05 04 01 aa', '30060201050401aa'],
  ['an indefinite length', '30 80 02 01 05 00 00', '3003020105'],
  ['indefinite lengths inside each other', 'a0 80 30 80 05 00 00 00 00 00', 'a00430020500'],
  ['an empty one', '30 80 00 00', '3000'],
  ['a long-winded length', '30 83 00 00 03 02 01 05', '3003020105'],
  ['an OCTET STRING in segments', '24 80 04 02 aa bb 04 01 cc 00 00', '0403aabbcc'],
  ['segments of definite length', '24 07 04 02 aa bb 04 01 cc', '0403aabbcc'],
  ['segments in segments', '24 80 24 80 04 01 aa 00 00 04 01 bb 00 00', '0402aabb'],
  ['no segments', '24 80 00 00', '0400'],
  ['segments under a context tag stay, being ambiguous', 'a0 80 04 01 aa 00 00', 'a0030401aa'],
  ['zeros inside a value', '30 80 04 02 00 00 00 00', '300404020000'],
])('%s', (_, ber, der) => {
  expect(convert(ber)).toBe(der)
  expect(checkDer(hex(der))).toEqual([])
})

test.each([
  ['nothing', ''],
  ['only a tag', '30'],
  ['no end', '30 80 02 01 05'],
  ['half an end', '30 80 02 01 05 00'],
  ['an end that is none', '30 80 00 01 00 00'],
  ['an indefinite primitive', '04 80 aa 00 00'],
  ['too long a length', '30 04 02 01 05'],
  ['a length without end', '30 87 01 00 00 00 00 00 00 00'],
  ['a child that reaches out', '30 03 02 02 05 05'],
  ['trailing bytes', '30 00 00'],
  ['an end where there is none to come', '30 02 00 00 00'],
  ['a segment of another type', '24 80 02 01 05 00 00'],
  ['a high tag number', '3f 81 01 00'],
])('is refused: %s', (_, ber) => {
  expectRefusal(() => convert(ber), 'der')
})

test('C17 depth, number of elements and size are bounded', () => {
  expectRefusal(() => berToDer(Buffer.alloc(2000, Buffer.from('3080', 'hex')), 4000), 'der')
  const many = Buffer.concat([hex('3080'), Buffer.alloc(10_000, hex('0500')), hex('0000')])
  expectRefusal(() => berToDer(many, 20_000), 'der')
  expectRefusal(() => berToDer(Buffer.alloc(1001), 1000), 'der')
})

test('F1 whatever comes, a typed error or something that is read again as itself', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        const der = berToDer(Buffer.from(bytes), 100)
        expect(berToDer(der, 200)).toEqual(der)
      } catch (error) {
        if (!(error instanceof PkiError)) throw error
      }
    }),
    { seed: 11, numRuns: 2000 },
  )
})
