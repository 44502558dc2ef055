import { constants, privateDecrypt, randomBytes } from 'node:crypto'

import { beforeAll, expect, test } from 'vitest'

import { crlOnly, readCrlOnly } from '../../../pki/cms/crl-only.ts'
import { buildEnvelopedData } from '../../../pki/cms/enveloped-data-build.ts'
import { openEnvelopedData } from '../../../pki/cms/enveloped-data.ts'
import { octetString, sequence } from '../../../pki/der/writer.ts'
import { openRsaEnvelope, softwareDecrypter } from '../../../pki/forge.ts'
import { generatePrivateKey } from '../../../pki/keys.ts'
import type { Party } from '../../support/cms-fixture.ts'
import { makeParty, replaceOnce } from '../../support/cms-fixture.ts'
import { expectRefusal, makeRoot } from '../../support/pki-fixture.ts'

const content = octetString(Buffer.from('content'))
const shared = {
  kind: 'shared-key',
  keyId: Buffer.from('line 7'),
  key: Buffer.alloc(32, 7),
} as const
let ec: Party
let rsa: Party

beforeAll(async () => {
  const root = await makeRoot()
  ec = await makeParty(root, 'P-256')
  rsa = await makeParty(root, 'RSA-2048')
})

const certified = ({ id, spki }: Party) => ({ kind: 'certificate', id, spki }) as const

test('an EC envelope opens for its key only', async () => {
  const der = buildEnvelopedData(content, certified(ec))
  const opener = { kind: 'private-key', id: ec.id, key: ec.key } as const
  expect(openEnvelopedData(der, opener).content).toEqual(content)
  const stranger = generatePrivateKey('P-256')
  expectRefusal(() => openEnvelopedData(der, { ...opener, key: stranger }), 'cms')
  expectRefusal(
    () => openEnvelopedData(der, { ...opener, key: generatePrivateKey('P-384') }),
    'key',
  )
  expectRefusal(() => openEnvelopedData(der, { ...opener, id: rsa.id }), 'cms')
  expectRefusal(() => openEnvelopedData(der, shared), 'cms')
})

test('an originator off the curve never meets our key', () => {
  const der = buildEnvelopedData(content, certified(ec))
  const opener = { kind: 'private-key', id: ec.id, key: ec.key } as const
  // BIT STRING of 66 octets: no unused bits, uncompressed point.
  const at = der.indexOf(Buffer.from('03420004', 'hex')) + 4
  const wrong = Buffer.from(der)
  randomBytes(64).copy(wrong, at)
  expectRefusal(() => openEnvelopedData(wrong, opener), 'key')
  const compressed = Buffer.from(der)
  compressed[at - 1] = 2
  expectRefusal(() => openEnvelopedData(compressed, opener), 'key')
  expect(openEnvelopedData(der, opener).content).toEqual(content)
})

test('a key of 16 octets wraps with AES-128, and others are refused', () => {
  const short = { ...shared, key: Buffer.alloc(16, 7) }
  expect(openEnvelopedData(buildEnvelopedData(content, short), short).content).toEqual(content)
  const der = buildEnvelopedData(content, shared)
  expectRefusal(() => openEnvelopedData(der, short), 'cms')
  expectRefusal(() => buildEnvelopedData(content, { ...shared, key: Buffer.alloc(24) }), 'cms')
  expectRefusal(() => openEnvelopedData(der, { ...shared, key: Buffer.alloc(32, 8) }), 'cms')
})

test('keys that cannot encrypt are refused', async () => {
  const root = await makeRoot()
  for (const algorithm of ['Ed25519', 'ML-DSA-44'] as const) {
    const party = await makeParty(root, algorithm)
    expectRefusal(() => buildEnvelopedData(content, certified(party)), 'key')
  }
})

test('an RSA envelope opens, and triple DES only where it is allowed', async () => {
  const decrypter = softwareDecrypter(rsa.key, rsa.id)
  const old = buildEnvelopedData(content, certified(rsa), { cipher: 'des-ede3-cbc' })
  await expect(openRsaEnvelope(old, decrypter)).rejects.toMatchObject({ code: 'cms' })
  const allowed = await openRsaEnvelope(old, decrypter, { allowTripleDes: true })
  expect(allowed).toEqual({ content, cipher: 'des-ede3-cbc' })
  const single = replaceOnce(
    buildEnvelopedData(content, certified(rsa), { cipher: 'aes-128-cbc' }),
    Buffer.from('060960864801650304010204', 'hex'),
    Buffer.from('060960864801650304010104', 'hex'),
  )
  await expect(openRsaEnvelope(single, decrypter)).rejects.toMatchObject({ code: 'cms' })
})

test('an RSA envelope for somebody else, or by key identifier, is not ours', async () => {
  const decrypter = softwareDecrypter(rsa.key, rsa.id)
  const other = buildEnvelopedData(content, { ...certified(rsa), id: ec.id })
  const byKey = buildEnvelopedData(content, {
    ...certified(rsa),
    id: { kind: 'key-id', keyId: Buffer.alloc(20, 1) },
  })
  const toEc = buildEnvelopedData(content, certified(ec))
  for (const der of [other, byKey, toEc]) {
    await expect(openRsaEnvelope(der, decrypter)).rejects.toMatchObject({ code: 'cms' })
  }
  expectRefusal(() => softwareDecrypter(ec.key, ec.id), 'key')
})

/** A key in a token that answers wrong padding with an error, as an older OpenSSL does. */
test('S3 a decrypter that throws looks like one that answers garbage', async () => {
  const der = buildEnvelopedData(content, certified(rsa))
  const answers = [
    async () => await Promise.reject(new Error('padding check failed')),
    async () => randomBytes(48),
    async () => randomBytes(32),
    async () => Buffer.alloc(0),
  ]
  for (const decrypt of answers) {
    const work = openRsaEnvelope(der, { id: rsa.id, decrypt })
    await expect(work).rejects.toMatchObject({
      code: 'cms',
      message: 'The envelope does not open',
    })
  }
  const padding = constants.RSA_PKCS1_PADDING
  const honest = async (bytes: Buffer) => privateDecrypt({ key: rsa.key, padding }, bytes)
  expect((await openRsaEnvelope(der, { id: rsa.id, decrypt: honest })).content).toEqual(content)
})

test('a message carries one CRL and nothing else', () => {
  const crl = sequence(sequence())
  expect(readCrlOnly(crlOnly(crl))).toEqual(crl)
  expectRefusal(() => readCrlOnly(crlOnly(Buffer.concat([crl, crl]))), 'der')
  expectRefusal(() => readCrlOnly(crl), 'der')
})
