import fc from 'fast-check'
import { expect, test } from 'vitest'

import { checkDer } from '../../../pki/der/check.ts'
import { DerReader } from '../../../pki/der/reader.ts'
import { decodeTime, encodeTime } from '../../../pki/der/time.ts'
import { decodeOid } from '../../../pki/der/values.ts'
import {
  boolean,
  contextConstructed,
  integer,
  nullValue,
  octetString,
  oid,
  sequence,
  setOf,
  tlv,
  utf8String,
} from '../../../pki/der/writer.ts'
import { PkiError } from '../../../pki/errors.ts'
import { expectRefusal } from '../../support/pki-fixture.ts'

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')

test.each([
  ['indefinite length', '30 80 00 00'],
  ['long form where the short one fits', '30 81 02 05 00'],
  ['length with a leading zero octet', `04 82 00 80 ${'00'.repeat(128)}`],
  ['length of five octets', '04 85 00 00 00 00 01 00'],
  ['length beyond the end', '04 05 00'],
  ['length missing', '04'],
  ['high tag number', '1f 81 01 00'],
  ['tag 0', '30 02 00 00'],
  ['trailing bytes', '05 00 00'],
  ['inner trailing bytes', '30 03 05 00 00'],
  ['nothing at all', ''],
  ['non-minimal positive INTEGER', '02 02 00 7f'],
  ['non-minimal negative INTEGER', '02 02 ff 80'],
  ['empty INTEGER', '02 00'],
  ['BOOLEAN 01', '01 01 01'],
  ['BOOLEAN of two octets', '01 02 ff ff'],
  ['NULL with content', '05 01 00'],
  ['BIT STRING with 8 unused bits', '03 02 08 00'],
  ['BIT STRING with set unused bits', '03 02 01 01'],
  ['empty BIT STRING with unused bits', '03 01 01'],
  ['BIT STRING without count', '03 00'],
  ['OID arc with leading 80', '06 03 2a 80 01'],
  ['OID that ends inside an arc', '06 02 2a 86'],
  ['empty OID', '06 00'],
  ['SET OF out of order', '31 06 02 01 02 02 01 01'],
  ['constructed OCTET STRING', '24 03 04 01 00'],
  ['primitive SEQUENCE', '10 00'],
  ['REAL, which no structure here has', '09 00'],
  ['PrintableString with @', '13 01 40'],
  ['IA5String beyond 7 bits', '16 01 80'],
  ['UTF8String that is not UTF-8', '0c 02 c3 28'],
  ['UTF8String with an overlong form', '0c 02 c0 80'],
  ['UTCTime without seconds', `17 0b ${Buffer.from('2603011200Z').toString('hex')}`],
  ['UTCTime with an offset', `17 11 ${Buffer.from('260301120000+0100').toString('hex')}`],
  ['GeneralizedTime with a fraction', `18 11 ${Buffer.from('20600301120000.5Z').toString('hex')}`],
  ['31 April', `17 0d ${Buffer.from('260431120000Z').toString('hex')}`],
  ['hour 24', `17 0d ${Buffer.from('260430240000Z').toString('hex')}`],
])('the walk refuses: %s', (_, bytes) => {
  expect(expectRefusal(() => checkDer(hex(bytes)), 'der').offset).toBeTypeOf('number')
})

test.each([
  ['an empty SEQUENCE', '30 00'],
  ['length 128', `04 81 80 ${'00'.repeat(128)}`],
  ['INTEGER 128', '02 02 00 80'],
  ['INTEGER -1', '02 01 ff'],
  ['SET OF with equal elements', '31 06 02 01 01 02 01 01'],
  ['BIT STRING with unused bits', '03 02 07 80'],
  ['OID with a long first arc', '06 03 88 37 03'],
  ['29 February of a leap year', `17 0d ${Buffer.from('240229120000Z').toString('hex')}`],
  ['a primitive context tag with any content', '80 03 80 01 00'],
])('the walk accepts: %s', (_, bytes) => {
  expect(checkDer(hex(bytes))).toEqual([])
})

test('SET OF order can be reported instead of refused', () => {
  expect(checkDer(hex('31 06 02 01 02 02 01 01'), { setOrder: 'report' })).toEqual([5])
})

test('C17 nesting of 10,000 is a typed error, and 32 levels are read', () => {
  const nest = (levels: number) => {
    let der = nullValue()
    for (let level = 0; level < levels; level += 1) der = sequence(der)
    return der
  }
  expect(expectRefusal(() => checkDer(nest(10_000)), 'der').message).toMatch(/deep/)
  expect(checkDer(nest(31))).toEqual([])
  expectRefusal(() => checkDer(nest(32)), 'der')
  const enter = () => {
    let reader = new DerReader(nest(100))
    for (;;) reader = reader.enter(0x30)
  }
  expect(expectRefusal(enter, 'der').message).toMatch(/deep/)
})

test('C17 an OID arc of 2^64 is refused and 2^53 - 1 is read', () => {
  expectRefusal(() => checkDer(hex('06 0b 2a 82 80 80 80 80 80 80 80 80 00')), 'der')
  const largest = `2.25.${Number.MAX_SAFE_INTEGER}`
  expect(decodeOid(oid(largest).subarray(2), 0)).toBe(largest)
})

test('C17 more than 64 KiB is refused before anything is read', () => {
  expectRefusal(() => checkDer(Buffer.alloc(1_048_576, 0x30)), 'der')
  expectRefusal(() => new DerReader(Buffer.alloc(65_537)), 'der')
  const full = Buffer.concat([hex('30 82 ff fc'), Buffer.alloc(65_532)])
  for (let at = 4; at < full.length; at += 2) full[at] = 0x30
  expect(checkDer(full)).toEqual([])
})

test.each([
  ['2049-12-31T23:59:59.999Z', 0x17, '491231235959Z'],
  ['2050-01-01T00:00:00Z', 0x18, '20500101000000Z'],
  ['9999-12-31T23:59:59Z', 0x18, '99991231235959Z'],
  ['1950-01-01T00:00:00Z', 0x17, '500101000000Z'],
])('P2 P3 the time %s has one spelling', (instant, tag, text) => {
  const encoded = encodeTime(new Date(instant))
  expect(encoded[0]).toBe(tag)
  expect(encoded.subarray(2).toString('latin1')).toBe(text)
  const read = decodeTime(tag, encoded.subarray(2), 0)
  expect(read.getTime()).toBe(Math.floor(Date.parse(instant) / 1000) * 1000)
})

test('P2 a time that cannot be written is refused', () => {
  expectRefusal(() => encodeTime(new Date('1949-12-31T23:59:59Z')), 'der')
  expectRefusal(() => encodeTime(new Date(Number.NaN)), 'der')
  expectRefusal(() => new DerReader(generalized('20490101000000Z')).time(), 'der')
})

function generalized(text: string): Buffer {
  return tlv(0x18, Buffer.from(text, 'latin1'))
}

test.each([
  ['0', '020100'],
  ['127', '02017f'],
  ['128', '02020080'],
  ['65537', '0203010001'],
])('INTEGER %s', (value, expected) => {
  expect(integer(BigInt(value)).toString('hex')).toBe(expected)
  expect(integer(Number(value)).toString('hex')).toBe(expected)
})

test.each(['1.2.840.113549.1.9.14', '2.5.29.37.0', '0.9.2342.19200300.100.1.25', '2.999.3'])(
  'OID %s comes back',
  (dotted) => {
    expect(new DerReader(oid(dotted)).oid()).toBe(dotted)
  },
)

test.each(['', '1', '3.1', '1.40', '1.2.-3', '1.2.x', '1.2..3', '1.2.01'])(
  '"%s" is no OID',
  (dotted) => {
    expectRefusal(() => oid(dotted), 'der')
  },
)

type Tree = { tag: number; children: Tree[] } | { tag: number; content: string }

function encode(tree: Tree): Buffer {
  if ('content' in tree) return tlv(tree.tag, Buffer.from(tree.content, 'hex'))
  const children = tree.children.map(encode)
  return tree.tag === 0x31 ? setOf(...children) : tlv(tree.tag, ...children)
}

function decode(reader: DerReader): Tree {
  const element = reader.next()
  if ((element.tag & 0x20) === 0) {
    const content = reader.buffer.subarray(element.contentStart, element.end).toString('hex')
    return { tag: element.tag, content }
  }
  const inside = reader.inside(element)
  const children: Tree[] = []
  while (!inside.isDone()) children.push(decode(inside))
  return { tag: element.tag, children }
}

const leafTree = fc.oneof(
  fc.bigInt({ min: 0n, max: 1n << 200n }).map(integer),
  fc.boolean().map(boolean),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => octetString(Buffer.from(bytes))),
  fc.string({ unit: 'grapheme', maxLength: 20 }).map(utf8String),
  fc.constant(nullValue()),
  fc.constant(oid('1.2.840.113549.1.9.14')),
)
const derTree = fc.letrec<{ node: Buffer }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    leafTree,
    fc.array(tie('node'), { maxLength: 4 }).map((parts) => sequence(...parts)),
    fc.array(tie('node'), { maxLength: 4 }).map((parts) => setOf(...parts)),
    fc.array(tie('node'), { maxLength: 3 }).map((parts) => contextConstructed(1, ...parts)),
  ),
})).node

test('F1 decode(encode(x)) is x', () => {
  fc.assert(
    fc.property(derTree, (der) => {
      expect(checkDer(der)).toEqual([])
      const reader = new DerReader(der)
      const tree = decode(reader)
      reader.finish()
      expect(encode(tree)).toEqual(der)
    }),
    { seed: 1, numRuns: 300 },
  )
})

test('F1 each prefix is a typed error with an offset, each mutation is accepted or a typed error', () => {
  fc.assert(
    fc.property(derTree, fc.nat(), fc.integer({ min: 1, max: 255 }), (der, where, flip) => {
      const cut = where % der.length
      expect(expectRefusal(() => checkDer(der.subarray(0, cut)), 'der').offset).toBeTypeOf('number')
      const mutated = Buffer.from(der)
      mutated[cut] = (mutated[cut] ?? 0) ^ flip
      try {
        checkDer(mutated)
      } catch (error) {
        expect(error).toBeInstanceOf(PkiError)
      }
    }),
    { seed: 2, numRuns: 500 },
  )
})

test('F1 random bytes are a typed error or DER that reads back the same', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      const der = Buffer.from(bytes)
      try {
        checkDer(der)
      } catch (error) {
        expect(error).toBeInstanceOf(PkiError)
        return
      }
      expect(encode(decode(new DerReader(der)))).toEqual(der)
    }),
    { seed: 3, numRuns: 1000 },
  )
})
