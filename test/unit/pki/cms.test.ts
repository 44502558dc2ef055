import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'

import { certsOnly, readCertsOnly } from '../../../pki/cms/certs-only.ts'
import { oids } from '../../../pki/der/oids.ts'
import {
  contextConstructed,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
} from '../../../pki/der/writer.ts'
import { PkiError } from '../../../pki/errors.ts'
import { expectRefusal, makeIssuer, makeRoot } from '../../support/pki-fixture.ts'

let certificates: Buffer[]

beforeAll(async () => {
  const root = await makeRoot()
  const issuer = await makeIssuer(root)
  certificates = [root.certificate.der, issuer.certificate.der]
})

test('E14 certificates come back; the set is in DER order', () => {
  const sorted = certificates.toSorted((a, b) => a.compare(b))
  expect(readCertsOnly(certsOnly(certificates))).toEqual(sorted)
  expect(readCertsOnly(certsOnly(sorted.toReversed()))).toEqual(sorted)
  const one = certificates.slice(0, 1)
  expect(readCertsOnly(certsOnly(one))).toEqual(one)
})

test('1 to 64 certificates', () => {
  const [der = Buffer.alloc(0)] = certificates
  const repeated = (count: number) => Array.from({ length: count }, () => der)
  expectRefusal(() => certsOnly([]), 'cms')
  expectRefusal(() => certsOnly(repeated(65)), 'cms')
  expect(readCertsOnly(certsOnly(repeated(64)))).toHaveLength(64)
})

interface Parts {
  type?: string
  version?: number
  digests?: Buffer
  content?: Buffer
  certificates?: Buffer
  crls?: Buffer
  signers?: Buffer
}

function message(parts: Parts = {}): Buffer {
  const body = sequence(
    integer(parts.version ?? 1),
    parts.digests ?? setOf(),
    parts.content ?? sequence(oid(oids.data)),
    parts.certificates ?? contextConstructed(0, ...certificates),
    parts.crls ?? Buffer.alloc(0),
    parts.signers ?? setOf(),
  )
  return sequence(oid(parts.type ?? oids.signedData), contextConstructed(0, body))
}

test('an empty set of CRLs says nothing, and the order of certificates is free in reading', () => {
  expect(readCertsOnly(message())).toEqual(certificates)
  expect(readCertsOnly(message({ crls: contextConstructed(1) }))).toEqual(certificates)
})

test.each<[name: string, parts: Parts]>([
  ['another content type', { type: oids.data }],
  ['another version', { version: 3 }],
  ['digests', { digests: setOf(sequence(oid('2.16.840.1.101.3.4.2.1'))) }],
  [
    'content',
    { content: sequence(oid(oids.data), contextConstructed(0, octetString(Buffer.from('x')))) },
  ],
  ['another inner type', { content: sequence(oid(oids.signedData)) }],
  ['no certificates', { certificates: Buffer.alloc(0) }],
  ['an empty set of certificates', { certificates: contextConstructed(0) }],
  ['an attribute certificate', { certificates: contextConstructed(0, contextConstructed(2)) }],
  ['CRLs', { crls: contextConstructed(1, sequence()) }],
  ['signers', { signers: setOf(sequence(integer(1))) }],
])('F4 a message is refused: %s', (_, parts) => {
  expectRefusal(() => readCertsOnly(message(parts)), 'cms', 'der')
})

test('F4 each prefix is refused, each mutation is total, trailing bytes are refused', () => {
  const der = certsOnly(certificates)
  expectRefusal(() => readCertsOnly(Buffer.concat([der, Buffer.alloc(1)])), 'der')
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      expectRefusal(() => readCertsOnly(der.subarray(0, at)), 'der')
      const changed = Buffer.from(der)
      changed[at] = (changed[at] ?? 0) ^ flip
      try {
        expect(readCertsOnly(changed).length).toBeGreaterThan(0)
      } catch (error) {
        if (!(error instanceof PkiError)) throw error
      }
    }),
    { seed: 7, numRuns: 400 },
  )
})
