import { beforeAll, expect, test } from 'vitest'

import { oids } from '../../../pki/der/oids.ts'
import {
  bitString,
  boolean,
  contextConstructed,
  integer,
  nullValue,
  octetString,
  oid,
  sequence,
  setOf,
  tlv,
} from '../../../pki/der/writer.ts'
import { encodeExtension } from '../../../pki/x509/extension-writer.ts'
import { parseCertificate } from '../../../pki/x509/parse.ts'
import type { Authority } from '../../support/pki-fixture.ts'
import {
  expectRefusal,
  makeIssuer,
  makeRoot,
  rawExtensions,
  rawTbs,
  signRaw,
} from '../../support/pki-fixture.ts'

let issuer: Authority

beforeAll(async () => {
  issuer = await makeIssuer(await makeRoot())
})

const basic = Buffer.from('3000', 'hex')

/** What Node accepts or what leads astray, and our reader refuses (pki.md T7). */
const hostile: [name: string, parts: (issuer: Authority) => Parameters<typeof rawTbs>[1]][] = [
  ['a negative serial', () => ({ serial: Buffer.from('0201ff', 'hex') })],
  ['a zero serial', () => ({ serial: integer(0) })],
  ['a serial of 21 octets', () => ({ serial: integer(Buffer.alloc(21, 0x41)) })],
  ['a non-minimal serial', () => ({ serial: Buffer.from('02020001', 'hex') })],
  ['version 1 with extensions', () => ({ version: Buffer.alloc(0) })],
  ['version 1 written out', () => ({ version: contextConstructed(0, integer(0)) })],
  ['version 2', () => ({ version: contextConstructed(0, integer(1)) })],
  [
    'GeneralizedTime before 2050',
    () => ({
      validity: sequence(
        tlv(0x18, Buffer.from('20260301000000Z')),
        tlv(0x18, Buffer.from('20260401000000Z')),
      ),
    }),
  ],
  [
    'UTCTime without seconds',
    () => ({
      validity: sequence(
        tlv(0x17, Buffer.from('2603010000Z')),
        tlv(0x17, Buffer.from('2604010000Z')),
      ),
    }),
  ],
  [
    'an end before the beginning',
    () => ({
      validity: sequence(
        tlv(0x17, Buffer.from('260401000000Z')),
        tlv(0x17, Buffer.from('260301000000Z')),
      ),
    }),
  ],
  ['no extensions', () => ({ extensions: [] })],
  [
    'a duplicate extension',
    (by) => ({
      extensions: [...rawExtensions(by), encodeExtension(oids.basicConstraints, true, basic)],
    }),
  ],
  [
    'critical FALSE written out',
    () => ({
      extensions: [sequence(oid(oids.basicConstraints), boolean(false), octetString(basic))],
    }),
  ],
  ['cA FALSE written out', () => withExtension(oids.basicConstraints, '3003010100')],
  ['a path length without CA', () => withExtension(oids.basicConstraints, '3003020100')],
  ['trailing bytes inside an extension', () => withExtension(oids.basicConstraints, '30000500')],
  ['key usage with a trailing zero bit', () => withExtension(oids.keyUsage, '03020680')],
  ['empty key usage', () => withExtension(oids.keyUsage, '030100')],
  ['unknown key usage bit', () => withExtension(oids.keyUsage, '0303060040')],
  ['empty extended key usage', () => withExtension(oids.extKeyUsage, '3000')],
  ['empty subjectAltName', () => withExtension(oids.subjectAltName, '3000')],
  [
    'NUL in a subjectAltName',
    () => withExtension(oids.subjectAltName, '300582036100 62'.replace(' ', '')),
  ],
  ['an unknown general name', () => withExtension(oids.subjectAltName, '3003890161')],
  ['an IP address of 5 octets', () => withExtension(oids.subjectAltName, '300787050102030405')],
  ['a directoryName that is no Name', () => withExtension(oids.subjectAltName, '3004a4020500')],
  ['empty name constraints', () => withExtension(oids.nameConstraints, '3000')],
  [
    'a distribution point without anything',
    () => withExtension(oids.cRLDistributionPoints, '30023000'),
  ],
  [
    'a VisibleString in the subject',
    () => ({
      subject: sequence(setOf(sequence(oid(oids.commonName), tlv(0x1a, Buffer.from('x'))))),
    }),
  ],
  [
    'a key whose algorithm is no SEQUENCE',
    () => ({ spki: sequence(octetString(basic), bitString(basic)) }),
  ],
  [
    'a key whose algorithm has two parameters',
    () => ({ spki: sequence(sequence(oid('1.2.3'), nullValue(), nullValue()), bitString(basic)) }),
  ],
  [
    'a key algorithm without OID',
    () => ({ spki: sequence(sequence(nullValue()), bitString(basic)) }),
  ],
  ['a subject that is no Name', () => ({ subject: sequence(integer(1)) })],
  ['unique identifiers', () => ({ tail: tlv(0x81, Buffer.from([0, 1])) })],
  ['something after the extensions', () => ({ tail: nullValue() })],
]

function withExtension(type: string, value: string): Parameters<typeof rawTbs>[1] {
  return { extensions: [encodeExtension(type, true, Buffer.from(value, 'hex'))] }
}

test.each(hostile)('T7 a certificate is refused: %s', async (_, parts) => {
  const der = await signRaw(rawTbs(issuer, parts(issuer)), issuer)
  expectRefusal(() => parseCertificate(der), 'der', 'certificate')
})

test('T7 the honest twin is read, and trailing bytes are not', async () => {
  const der = await signRaw(rawTbs(issuer), issuer)
  expect(parseCertificate(der).isCa).toBe(false)
  expectRefusal(() => parseCertificate(Buffer.concat([der, Buffer.alloc(1)])), 'der')
})

test('an error in an extension says where in the certificate it is', async () => {
  const parts = withExtension(oids.basicConstraints, '3003010100')
  const der = await signRaw(rawTbs(issuer, parts), issuer)
  const { offset, message } = expectRefusal(() => parseCertificate(der), 'der')
  expect(der.subarray(offset ?? 0, (offset ?? 0) + 3).toString('hex')).toBe('010100')
  expect(message).toContain(oids.basicConstraints)
})

test('an unknown critical extension is read, so that the path validator can refuse it', async () => {
  const extensions = [...rawExtensions(issuer), encodeExtension('1.2.3.4', true, nullValue())]
  const certificate = parseCertificate(await signRaw(rawTbs(issuer, { extensions }), issuer))
  expect(certificate.extensions.get('1.2.3.4')?.critical).toBe(true)
})
