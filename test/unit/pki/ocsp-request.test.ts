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
} from '../../../pki/der/writer.ts'
import type { CertIdHash, IssuerHashes } from '../../../pki/ocsp/cert-id.ts'
import { encodeCertId, isOfIssuer, issuerHashes } from '../../../pki/ocsp/cert-id.ts'
import {
  buildOcspRequest,
  decodeOcspGet,
  maxCertIds,
  maxOcspRequestBytes,
  parseOcspRequest,
} from '../../../pki/ocsp/request.ts'
import { encodeExtension } from '../../../pki/x509/extension-writer.ts'
import { newSerial } from '../../../pki/x509/issue.ts'
import type { Authority } from '../../support/pki-fixture.ts'
import { expectRefusal, makeIssuer, makeRoot } from '../../support/pki-fixture.ts'

let root: Authority
let issuer: Authority
let hashes: IssuerHashes
const serial = newSerial()

beforeAll(async () => {
  root = await makeRoot()
  issuer = await makeIssuer(root)
  hashes = issuerHashes(issuer.certificate)
})

const certId = (hash: CertIdHash = 'sha1', of = serial) => encodeCertId(hash, hashes, of)

test.each<CertIdHash>(['sha1', 'sha256'])('V10 a %s CertID names its issuer only', (hash) => {
  const [read] = parseOcspRequest(buildOcspRequest([certId(hash)])).certIds
  expect(read).toMatchObject({ hash, serial, der: certId(hash) })
  if (!read) throw new Error('No CertID')
  expect(isOfIssuer(read, hashes)).toBe(true)
  const other = issuerHashes(root.certificate)
  expect(isOfIssuer(read, other)).toBe(false)
  // The name alone and the key alone are not enough.
  expect(isOfIssuer({ ...read, issuerKeyHash: other[hash].key }, hashes)).toBe(false)
  expect(isOfIssuer({ ...read, issuerNameHash: other[hash].name }, hashes)).toBe(false)
})

test('V10 the hash is read with NULL parameters and without', () => {
  const { name, key } = hashes.sha256
  const bare = sequence(
    sequence(oid('2.16.840.1.101.3.4.2.1')),
    octetString(name),
    octetString(key),
    integer(serial),
  )
  expect(parseOcspRequest(buildOcspRequest([bare])).certIds[0]?.hash).toBe('sha256')
  const sha512 = sequence(
    sequence(oid('2.16.840.1.101.3.4.2.3'), nullValue()),
    octetString(Buffer.alloc(64)),
    octetString(Buffer.alloc(64)),
    integer(serial),
  )
  const [read] = parseOcspRequest(buildOcspRequest([sha512])).certIds
  expect(read?.hash).toBeUndefined()
  expect(read && isOfIssuer(read, hashes)).toBe(false)
})

test('V10 a nonce has 1 to 128 octets', () => {
  for (const length of [1, 32, 128]) {
    const nonce = Buffer.alloc(length, 7)
    expect(parseOcspRequest(buildOcspRequest([certId()], nonce)).nonce).toEqual(nonce)
  }
  for (const length of [0, 129]) {
    expectRefusal(() => buildOcspRequest([certId()], Buffer.alloc(length)), 'ocsp')
    const nonce = octetString(Buffer.alloc(length))
    expectRefusal(() => parseOcspRequest(withExtension(oids.ocspNonce, nonce)), 'ocsp')
  }
  expect(parseOcspRequest(buildOcspRequest([certId()])).nonce).toBeUndefined()
})

const withExtension = (type: string, value: Buffer, critical = false) =>
  request({
    rest: [contextConstructed(2, sequence(encodeExtension(type, critical, value)))],
  })

interface Parts {
  head?: Buffer[]
  list?: Buffer[]
  rest?: Buffer[]
  tail?: Buffer[]
}

function request({ head = [], list = [sequence(certId())], rest = [], tail = [] }: Parts): Buffer {
  return sequence(sequence(...head, sequence(...list), ...rest), ...tail)
}

test('V10 many CertIDs, up to a bound', () => {
  const many = (count: number) => Array.from({ length: count }, () => certId('sha1', newSerial()))
  const read = parseOcspRequest(buildOcspRequest(many(maxCertIds)))
  expect(read.certIds).toHaveLength(maxCertIds)
  expectRefusal(() => buildOcspRequest(many(maxCertIds + 1)), 'ocsp')
  expectRefusal(() => buildOcspRequest([]), 'ocsp')
  const list = many(maxCertIds + 1).map((one) => sequence(one))
  expectRefusal(() => parseOcspRequest(request({ list })), 'ocsp')
  expectRefusal(() => parseOcspRequest(request({ list: [] })), 'der')
  expectRefusal(() => parseOcspRequest(Buffer.alloc(maxOcspRequestBytes + 1)), 'der')
})

test('V10 who asks and a signature change nothing', () => {
  const name = contextConstructed(1, contextConstructed(4, issuer.certificate.subject))
  const parts = [issuer.signer.algorithm, bitString(Buffer.alloc(64))]
  const signed = contextConstructed(0, sequence(...parts))
  const certificates = contextConstructed(0, sequence(issuer.certificate.der))
  const withChain = contextConstructed(0, sequence(...parts, certificates))
  for (const tail of [[], [signed], [withChain]]) {
    expect(parseOcspRequest(request({ head: [name], tail })).certIds).toHaveLength(1)
  }
})

const idOf = (...parts: Buffer[]) => request({ list: [sequence(sequence(...parts))] })
const sha1 = Buffer.from('300906052b0e03021a0500', 'hex')
const twenty = octetString(Buffer.alloc(20))

test.each<[name: string, der: () => Buffer]>([
  ['nothing', () => Buffer.alloc(0)],
  ['trailing bytes', () => Buffer.concat([request({}), Buffer.alloc(1)])],
  ['version 1 written out', () => request({ head: [contextConstructed(0, integer(0))] })],
  ['version 2', () => request({ head: [contextConstructed(0, integer(1))] })],
  ['a name hash of 19 octets', () => idOf(sha1, octetString(Buffer.alloc(19)), twenty, integer(1))],
  ['a key hash of 32 octets', () => idOf(sha1, twenty, octetString(Buffer.alloc(32)), integer(1))],
  ['a negative serial', () => idOf(sha1, twenty, twenty, Buffer.from('0201ff', 'hex'))],
  ['a serial of 21 octets', () => idOf(sha1, twenty, twenty, integer(Buffer.alloc(21, 1)))],
  [
    'a serial that is not minimal',
    () => idOf(sha1, twenty, twenty, Buffer.from('02020001', 'hex')),
  ],
  ['no serial', () => idOf(sha1, twenty, twenty)],
  ['more in a CertID', () => idOf(sha1, twenty, twenty, integer(1), integer(1))],
  ['an unknown critical extension', () => withExtension('1.2.3', nullValue(), true)],
  ['a nonce that is no OCTET STRING', () => withExtension(oids.ocspNonce, integer(5))],
  ['empty extensions', () => request({ rest: [contextConstructed(2, sequence())] })],
  [
    'a critical extension of one CertID',
    () => {
      const extension = sequence(oid('1.2.3'), boolean(true), octetString(nullValue()))
      return request({ list: [sequence(certId(), contextConstructed(0, sequence(extension)))] })
    },
  ],
  [
    'a signature without its bits',
    () => request({ tail: [contextConstructed(0, sequence(sha1))] }),
  ],
])('V10 malformed: %s', (_, der) => {
  expectRefusal(() => parseOcspRequest(der()), 'der', 'ocsp')
})

test('V10 extensions that are not critical are passed over', () => {
  expect(parseOcspRequest(withExtension('1.2.3', nullValue())).certIds).toHaveLength(1)
})

test('V10 GET: base64, URL-encoded or not, and nothing else', () => {
  const der = buildOcspRequest([encodeCertId('sha1', hashes, Buffer.from('40ffbf', 'hex'))])
  const base64 = der.toString('base64')
  expect(decodeOcspGet(base64)).toEqual(der)
  expect(decodeOcspGet(encodeURIComponent(base64))).toEqual(der)
  const wrong = ['', '%', '%zz', `${base64}%0a`, ` ${base64}`, base64.slice(0, -1), `${base64}=`]
  wrong.push(`/${base64}`, der.toString('base64url').replace(/[A-Za-z0-9]*$/, '-_'), '%ff')
  wrong.push('A'.repeat(4100), encodeURIComponent(encodeURIComponent('+/==')))
  for (const path of wrong) expectRefusal(() => decodeOcspGet(path), 'ocsp')
})
