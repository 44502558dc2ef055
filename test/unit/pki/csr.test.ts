import fc from 'fast-check'
import { expect, test } from 'vitest'

import { buildCsr } from '../../../pki/csr/build.ts'
import { parseCsr } from '../../../pki/csr/parse.ts'
import { oids } from '../../../pki/der/oids.ts'
import {
  boolean,
  contextConstructed,
  integer,
  nullValue,
  octetString,
  oid,
  printableString,
  sequence,
  setOf,
  tlv,
  utf8String,
} from '../../../pki/der/writer.ts'
import { PkiError } from '../../../pki/errors.ts'
import type { KeyAlgorithm } from '../../../pki/keys.ts'
import { generatePrivateKey, spkiOf } from '../../../pki/keys.ts'
import { encodeName, readName } from '../../../pki/names.ts'
import { encodeExtension, encodeSubjectAltName } from '../../../pki/x509/extension-writer.ts'
import {
  attribute,
  deviceId,
  ecdsaWithSha256,
  expectRefusal,
  extensionRequest,
  rawCsr,
} from '../../support/pki-fixture.ts'

const key = generatePrivateKey('P-256')
const other = generatePrivateKey('P-256')
const subject = encodeName({ commonName: 'Pump 7' })
const uri = `urn:uuid:${deviceId}`
const san = encodeSubjectAltName([{ type: 'uri', value: uri }], false)
const ca = encodeExtension(oids.basicConstraints, true, Buffer.from('30030101ff', 'hex'))
const attributes = (...parts: Buffer[]) => contextConstructed(0, ...parts)

test.each<KeyAlgorithm>([
  'P-256',
  'P-384',
  'Ed25519',
  'RSA-2048',
  'ML-DSA-44',
  'ML-DSA-65',
  'ML-DSA-87',
])('C1 a %s request is built and read', (algorithm) => {
  const deviceKey = generatePrivateKey(algorithm)
  const csr = parseCsr(buildCsr(deviceKey, { subject, uris: [uri] }))
  expect(csr.publicKey.algorithm).toBe(algorithm)
  expect(csr.spki).toEqual(spkiOf(deviceKey))
  expect(csr.subject).toEqual(subject)
  expect(csr.subjectAltName).toEqual([{ type: 'uri', value: uri }])
  expect(csr.asksForCa).toBe(false)
  expect(csr.challengePassword).toBeUndefined()
  expect(csr.deviations).toEqual([])
})

test('C2 a flipped signature byte', () => {
  const der = rawCsr(key)
  expect(parseCsr(der).subject).toEqual(subject)
  der[der.length - 1] = (der.at(-1) ?? 0) ^ 1
  expectRefusal(() => parseCsr(der), 'csr')
})

test('C3 the signature of another key', () => {
  expectRefusal(() => parseCsr(rawCsr(other, { spki: spkiOf(key) })), 'csr')
  expect(parseCsr(rawCsr(other, { spki: spkiOf(other) })).subject).toEqual(subject)
})

test('C4 trailing bytes, outside and inside', () => {
  expectRefusal(() => parseCsr(Buffer.concat([rawCsr(key), Buffer.alloc(1)])), 'der')
  expectRefusal(() => parseCsr(Buffer.concat([rawCsr(key), rawCsr(key)])), 'der')
  expectRefusal(() => parseCsr(rawCsr(key, { tail: nullValue() })), 'der')
  expectRefusal(
    () => parseCsr(rawCsr(key, { attributes: Buffer.concat([attributes(), nullValue()]) })),
    'der',
  )
})

test('C5 BER: long and indefinite length, non-minimal INTEGER, BOOLEAN 01', () => {
  const der = rawCsr(key)
  const body = der.subarray(3)
  expect(der.subarray(0, 2).toString('hex')).toBe('3081')
  const long = Buffer.concat([Buffer.from([0x30, 0x82, 0, body.length]), body])
  const indefinite = Buffer.concat([Buffer.from([0x30, 0x80]), body, Buffer.alloc(2)])
  expectRefusal(() => parseCsr(long), 'der')
  expectRefusal(() => parseCsr(indefinite), 'der')
  expectRefusal(() => parseCsr(rawCsr(key, { version: Buffer.from('02020000', 'hex') })), 'der')
  const critical = (value: string) =>
    sequence(
      oid(oids.keyUsage),
      Buffer.from(value, 'hex'),
      octetString(Buffer.from('03020780', 'hex')),
    )
  const withBoolean = (value: string) =>
    rawCsr(key, { attributes: attributes(extensionRequest(critical(value))) })
  expectRefusal(() => parseCsr(withBoolean('010101')), 'der')
  expect(parseCsr(withBoolean('0101ff')).requestedExtensions.size).toBe(1)
})

test.each([1, 2, 255])('C6 version %i', (version) => {
  expectRefusal(() => parseCsr(rawCsr(key, { version: integer(version) })), 'csr')
})

test('C7 ecdsa-with-SHA256 with NULL parameters, and other algorithms off the list', () => {
  const withNull = sequence(oid('1.2.840.10045.4.3.2'), nullValue())
  expectRefusal(() => parseCsr(rawCsr(key, { algorithm: withNull })), 'csr')
  const withSha1 = sequence(oid('1.2.840.10045.4.1'))
  expectRefusal(() => parseCsr(rawCsr(key, { algorithm: withSha1 })), 'csr')
  expect(parseCsr(rawCsr(key, { algorithm: ecdsaWithSha256 })).spki).toEqual(spkiOf(key))
})

test('C8 two extensionRequest attributes, or two values in one', () => {
  const request = extensionRequest(san)
  expect(parseCsr(rawCsr(key, { attributes: attributes(request) })).subjectAltName).toHaveLength(1)
  expectRefusal(() => parseCsr(rawCsr(key, { attributes: attributes(request, request) })), 'csr')
  const twice = attribute(oids.extensionRequest, sequence(san), sequence(san))
  expectRefusal(() => parseCsr(rawCsr(key, { attributes: attributes(twice) })), 'der')
})

test('C9 an extension twice', () => {
  const der = rawCsr(key, { attributes: attributes(extensionRequest(san, san)) })
  expectRefusal(() => parseCsr(der), 'der')
})

test('C10 CA:TRUE and keyCertSign are seen and go no further', () => {
  const certSign = encodeExtension(oids.keyUsage, true, Buffer.from('03020204', 'hex'))
  const asks = (extension: Buffer) =>
    parseCsr(rawCsr(key, { attributes: attributes(extensionRequest(extension)) })).asksForCa
  expect(asks(ca)).toBe(true)
  expect(asks(certSign)).toBe(true)
  expect(asks(san)).toBe(false)
})

test('C11 every kind of name is shown to the policy', () => {
  const names = [
    { type: 'dns', value: 'example.com' },
    { type: 'uri', value: uri },
    { type: 'ip', value: Buffer.from([10, 0, 0, 1]) },
    { type: 'other', oid: oids.hardwareModuleName, value: nullValue() },
    { type: 'directory', value: subject },
    { type: 'registeredId', value: '1.2.3' },
    { type: 'email', value: 'a@example.com' },
  ] as const
  const request = extensionRequest(encodeSubjectAltName(names, false))
  const csr = parseCsr(rawCsr(key, { attributes: attributes(request) }))
  expect(csr.subjectAltName).toEqual(names)
})

test('C13 subject bytes are kept verbatim', () => {
  const odd = sequence(setOf(sequence(oid(oids.commonName), printableString('Pump 7'))))
  expect(odd).not.toEqual(subject)
  expect(parseCsr(rawCsr(key, { subject: odd })).subject).toEqual(odd)
  expect(parseCsr(rawCsr(key, { subject })).subject).toEqual(subject)
})

test('C14 NUL in a name is refused in the SAN and shown in the subject', () => {
  const bad = encodeExtension(
    oids.subjectAltName,
    false,
    sequence(tlv(0x86, Buffer.from('urn:a\0b'))),
  )
  expectRefusal(
    () => parseCsr(rawCsr(key, { attributes: attributes(extensionRequest(bad)) })),
    'der',
  )
  const odd = sequence(setOf(sequence(oid(oids.commonName), utf8String('a\0b'))))
  expect(readName(parseCsr(rawCsr(key, { subject: odd })).subject)[0]?.value).toBe('a\0b')
})

test('C15 a request with a weak key', () => {
  const weak = rawCsr(key, { spki: Buffer.concat([spkiOf(key), nullValue()]) })
  expectRefusal(() => parseCsr(weak), 'der', 'key')
})

test('C17 1 MB, 65 attributes, 65 extensions, 257 names', () => {
  expectRefusal(() => parseCsr(Buffer.alloc(1_048_576, 0x30)), 'csr')
  const numbered = (count: number, make: (number: number) => Buffer) =>
    Array.from({ length: count }, (_, index) => make(index))
  const withAttributes = (count: number) =>
    rawCsr(key, {
      attributes: attributes(...numbered(count, (n) => attribute(`1.2.3.${n}`, nullValue()))),
    })
  expect(parseCsr(withAttributes(64)).subject).toEqual(subject)
  expectRefusal(() => parseCsr(withAttributes(65)), 'csr')
  const withExtensions = (count: number) =>
    rawCsr(key, {
      attributes: attributes(
        extensionRequest(
          ...numbered(count, (n) => encodeExtension(`1.2.3.${n}`, false, nullValue())),
        ),
      ),
    })
  expect(parseCsr(withExtensions(64)).requestedExtensions.size).toBe(64)
  expectRefusal(() => parseCsr(withExtensions(65)), 'der')
  const withNames = (count: number) =>
    rawCsr(key, {
      attributes: attributes(
        extensionRequest(
          encodeExtension(
            oids.subjectAltName,
            false,
            sequence(...numbered(count, () => tlv(0x82, Buffer.from('a')))),
          ),
        ),
      ),
    })
  expect(parseCsr(withNames(256)).subjectAltName).toHaveLength(256)
  expectRefusal(() => parseCsr(withNames(257)), 'der')
})

test('C19 empty and absent attributes', () => {
  expect(parseCsr(rawCsr(key, { attributes: attributes() })).requestedExtensions.size).toBe(0)
  expect(parseCsr(rawCsr(key, { attributes: Buffer.alloc(0) })).requestedExtensions.size).toBe(0)
  expectRefusal(() => parseCsr(rawCsr(key, { attributes: attributes(extensionRequest()) })), 'der')
})

test('a challengePassword is read once, and bounded', () => {
  const challenge = (...values: Buffer[]) =>
    parseCsr(rawCsr(key, { attributes: attributes(attribute(oids.challengePassword, ...values)) }))
  expect(challenge(utf8String('secret')).challengePassword).toBe('secret')
  expect(challenge(printableString('secret')).challengePassword).toBe('secret')
  expectRefusal(() => challenge(utf8String('')), 'csr')
  expectRefusal(() => challenge(utf8String('x'.repeat(256))), 'csr')
  expectRefusal(() => challenge(utf8String('a'), utf8String('b')), 'der')
  expectRefusal(() => challenge(integer(1)), 'der')
})

test('deviations of field devices are reported with their offset', () => {
  const explicitFalse = sequence(
    oid(oids.keyUsage),
    boolean(false),
    octetString(Buffer.from('03020780', 'hex')),
  )
  const csr = parseCsr(rawCsr(key, { attributes: attributes(extensionRequest(explicitFalse)) }))
  expect(csr.deviations).toHaveLength(1)
  expect(csr.der[csr.deviations[0] ?? 0]).toBe(0x01)
  const unsorted = sequence(oid('1.2.3.4'), tlv(0x31, integer(2), integer(1)))
  expect(parseCsr(rawCsr(key, { attributes: attributes(unsorted) })).deviations).toHaveLength(1)
})

const sample = buildCsr(key, { subject, uris: [uri] })

test('F2 each prefix of a request is refused', () => {
  for (let length = 0; length < sample.length; length += 1) {
    expectRefusal(() => parseCsr(sample.subarray(0, length)), 'der')
  }
})

test('F2 no changed request is accepted: the signature covers or the parser refuses', () => {
  fc.assert(
    fc.property(fc.nat(sample.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(sample)
      changed[at] = (changed[at] ?? 0) ^ flip
      expect(() => parseCsr(changed)).toThrow(PkiError)
    }),
    { seed: 4, numRuns: 400 },
  )
})
