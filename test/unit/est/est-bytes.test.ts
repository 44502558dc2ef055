import { createPrivateKey } from 'node:crypto'

import { beforeAll, expect, test } from 'vitest'

import { readCertsOnly } from '../../../pki/cms/certs-only.ts'
import { parseCsr, parseUnprovenCsr } from '../../../pki/csr/parse.ts'
import { oids } from '../../../pki/der/oids.ts'
import { contextConstructed, octetString, oid, sequence, setOf } from '../../../pki/der/writer.ts'
import { toBase64Lines } from '../../../pki/est/base64-lines.ts'
import type { CsrAttribute } from '../../../pki/est/csr-attributes.ts'
import {
  csrAttributesFor,
  encodeCsrAttributes,
  readCsrAttributes,
} from '../../../pki/est/csr-attributes.ts'
import { encodeDecryptKey, readDecryptKey } from '../../../pki/est/decrypt-key.ts'
import { openGeneratedKey, sealGeneratedKey, serverKeyBody } from '../../../pki/est/server-key.ts'
import type { KeyAlgorithm } from '../../../pki/keys.ts'
import { generatePrivateKey } from '../../../pki/keys.ts'
import type { Party } from '../../support/cms-fixture.ts'
import { makeParty } from '../../support/cms-fixture.ts'
import { attribute, expectRefusal, makeRoot, rawCsr } from '../../support/pki-fixture.ts'

const key = generatePrivateKey('P-256')
const pkcs8 = key.export({ type: 'pkcs8', format: 'der' })
let device: Party
let server: Party

beforeAll(async () => {
  const root = await makeRoot()
  device = await makeParty(root, 'P-256')
  server = await makeParty(root, 'P-256')
})

/** RFC 8951 §3.2: challengePassword, secp384r1, extensionRequest with macAddress, ecdsa-with-SHA384. */
const vector = Buffer.from(
  'MEEGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiMBYGCSqGSIb3DQEJDjEJBgcrBgEBAQEWBggqhkjOPQQDAw==',
  'base64',
)
const meaning: CsrAttribute[] = [
  { kind: 'oid', oid: oids.challengePassword },
  { kind: 'attribute', type: '1.2.840.10045.2.1', values: [oid('1.3.132.0.34')] },
  { kind: 'attribute', type: oids.extensionRequest, values: [oid('1.3.6.1.1.1.1.22')] },
  { kind: 'oid', oid: '1.2.840.10045.4.3.3' },
]

test('E15 the vector of RFC 8951, both ways', () => {
  expect(vector).toHaveLength(67)
  expect(readCsrAttributes(vector)).toEqual(meaning)
  expect(encodeCsrAttributes(meaning)).toEqual(vector)
})

test('E15 nothing is an empty SEQUENCE', () => {
  expect(encodeCsrAttributes([])).toEqual(Buffer.from('3000', 'hex'))
  expect(readCsrAttributes(Buffer.from('3000', 'hex'))).toEqual([])
})

test.each<KeyAlgorithm>(['P-256', 'P-384', 'Ed25519', 'RSA-2048', 'ML-DSA-65'])(
  'E15 what is wanted for a %s key can be written and read',
  (algorithm) => {
    const wanted = csrAttributesFor(algorithm, { requiresLinking: true })
    expect(wanted[0]).toEqual({ kind: 'oid', oid: oids.challengePassword })
    expect(readCsrAttributes(encodeCsrAttributes(wanted))).toEqual(wanted)
    expect(csrAttributesFor(algorithm)).toEqual(wanted.slice(1))
  },
)

test.each([
  ['empty values', sequence(sequence(oid('1.2.3'), setOf()))],
  ['neither OID nor attribute', sequence(octetString(Buffer.alloc(1)))],
  ['trailing bytes', Buffer.concat([vector, Buffer.alloc(1)])],
  ['too many', sequence(...Array.from({ length: 65 }, () => oid('1.2.3')))],
])('E15 malformed attributes are refused: %s', (_, der) => {
  expectRefusal(() => readCsrAttributes(der), 'der', 'csr')
  expectRefusal(() => encodeCsrAttributes([{ kind: 'attribute', type: '1.2', values: [] }]), 'csr')
})

const request = (...attributes: Buffer[]) =>
  rawCsr(key, { attributes: contextConstructed(0, ...attributes) })

test('E17 the key to encrypt to is read from the request', () => {
  const id = Buffer.from('line 7')
  for (const kind of ['symmetric', 'asymmetric'] as const) {
    const csr = parseUnprovenCsr(request(encodeDecryptKey({ kind, id })))
    expect(readDecryptKey(csr)).toEqual({ kind, id })
  }
  expect(readDecryptKey(parseUnprovenCsr(request()))).toBeUndefined()
})

test('E17 ambiguous and malformed key identifiers are refused', () => {
  const id = Buffer.from('line 7')
  const type = '1.2.840.113549.1.9.16.2.37'
  const both = [
    encodeDecryptKey({ kind: 'symmetric', id }),
    encodeDecryptKey({ kind: 'asymmetric', id }),
  ]
  const requests = [
    request(...both),
    request(encodeDecryptKey({ kind: 'symmetric', id: Buffer.alloc(0) })),
    request(encodeDecryptKey({ kind: 'symmetric', id: Buffer.alloc(65) })),
    request(attribute(type, octetString(id), octetString(Buffer.from('line 8')))),
    request(attribute(type, oid('1.2.3'))),
    request(attribute(type)),
  ]
  for (const der of requests) {
    expectRefusal(() => readDecryptKey(parseUnprovenCsr(der)), 'csr', 'der')
  }
})

test('E16 key generation on the server does not look at key and signature', () => {
  const der = rawCsr(key, { signature: () => Buffer.from('none'), spki: sequence(oid('1.2.3')) })
  expect(parseUnprovenCsr(der).subject).toEqual(parseUnprovenCsr(request()).subject)
  expectRefusal(() => parseCsr(der), 'csr', 'key', 'der')
})

/** As RFC 2046 §5.1.1 reads it. */
function partsOf(contentType: string, body: Buffer): { type: string; der: Buffer }[] {
  const boundary = /boundary=(\S+)$/.exec(contentType)?.[1] ?? ''
  const [preamble, ...parts] = `\r\n${body.toString('latin1')}`.split(`\r\n--${boundary}`)
  expect([preamble, parts.pop()]).toEqual(['', '--\r\n'])
  return parts.map((part) => {
    const [head = '', content = ''] = part.split('\r\n\r\n')
    expect(head).toContain('\r\nContent-Transfer-Encoding: base64')
    for (const line of content.split('\r\n')) expect(line.length).toBeLessThanOrEqual(64)
    const type = /Content-Type: (.*)\r\n/.exec(head)?.[1] ?? ''
    return { type, der: Buffer.from(content, 'base64') }
  })
}

test('E16 a generated key and its certificate travel as two parts', () => {
  const { contentType, body } = serverKeyBody({ kind: 'plain', der: pkcs8 }, device.certificate)
  const [keyPart, certificatePart, ...rest] = partsOf(contentType, body)
  expect(rest).toEqual([])
  expect(keyPart).toEqual({ type: 'application/pkcs8', der: pkcs8 })
  expect(certificatePart?.type).toBe('application/pkcs7-mime; smime-type=certs-only')
  expect(readCertsOnly(certificatePart?.der ?? pkcs8)).toEqual([device.certificate])
})

test('E17 a sealed key opens for its recipient and its maker only', async () => {
  const recipient = { kind: 'certificate', id: device.id, spki: device.spki } as const
  const sealed = await sealGeneratedKey(pkcs8, server, recipient)
  const { contentType, body } = serverKeyBody({ kind: 'sealed', der: sealed }, device.certificate)
  const [keyPart] = partsOf(contentType, body)
  expect(keyPart?.type).toBe('application/pkcs7-mime; smime-type=server-generated-key')
  const opener = { kind: 'private-key', id: device.id, key: device.key } as const
  const opened = openGeneratedKey(keyPart?.der ?? pkcs8, opener, server.spki)
  expect(createPrivateKey({ key: opened, format: 'der', type: 'pkcs8' }).equals(key)).toBe(true)
  expectRefusal(() => openGeneratedKey(sealed, { ...opener, key: server.key }, server.spki), 'cms')
  expectRefusal(() => openGeneratedKey(sealed, opener, device.spki), 'cms')

  const shared = {
    kind: 'shared-key',
    keyId: Buffer.from('line 7'),
    key: Buffer.alloc(32, 7),
  } as const
  const sharedKey = await sealGeneratedKey(pkcs8, server, shared)
  expect(openGeneratedKey(sharedKey, shared, server.spki)).toEqual(pkcs8)
  const other = { ...shared, keyId: Buffer.from('line 8') }
  expectRefusal(() => openGeneratedKey(sharedKey, other, server.spki), 'cms')
})

test('P13 base64 lines at every length around a full line', () => {
  for (const length of [1, 45, 46, 47, 48, 49, 93, 94, 95, 96, 97]) {
    const der = Buffer.alloc(length, 0xa5)
    const lines = toBase64Lines(der).split('\n')
    expect(lines.pop()).toBe('')
    expect(lines.every((line) => line.length > 0 && line.length <= 64)).toBe(true)
    expect(Buffer.from(lines.join(''), 'base64')).toEqual(der)
  }
})
