import { createHash, sign } from 'node:crypto'

import { beforeAll, expect, test } from 'vitest'

import { encodeCertificateId } from '../../../pki/cms/certificate-id.ts'
import { buildSignedData } from '../../../pki/cms/signed-data-build.ts'
import type { VerifyOptions } from '../../../pki/cms/signed-data.ts'
import { verifySignedData } from '../../../pki/cms/signed-data.ts'
import { oids } from '../../../pki/der/oids.ts'
import {
  contextConstructed,
  contextPrimitive,
  integer,
  nullValue,
  octetString,
  oid,
  printableString,
  sequence,
  setOf,
} from '../../../pki/der/writer.ts'
import type { KeyAlgorithm } from '../../../pki/keys.ts'
import { keyIdentifier } from '../../../pki/keys.ts'
import type { Party } from '../../support/cms-fixture.ts'
import { makeParty } from '../../support/cms-fixture.ts'
import {
  attribute,
  ecdsaWithSha256,
  expectRefusal,
  makeRoot,
  now,
} from '../../support/pki-fixture.ts'

const content = Buffer.from('content')
const none = Buffer.alloc(0)
const sha256 = sequence(oid('2.16.840.1.101.3.4.2.1'))
const sha512 = sequence(oid('2.16.840.1.101.3.4.2.3'))
const types = { contentType: '1.2.840.113549.1.9.3', messageDigest: '1.2.840.113549.1.9.4' }
const good = {
  contentType: attribute(types.contentType, oid(oids.data)),
  messageDigest: attribute(types.messageDigest, octetString(digest(content))),
}
let party: Party
let other: Party

beforeAll(async () => {
  const root = await makeRoot()
  party = await makeParty(root, 'P-256')
  other = await makeParty(root, 'P-256')
})

function digest(bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest()
}

interface Parts {
  version?: number
  digests?: Buffer
  content?: Buffer
  certificates?: Buffer
  attributes?: Buffer[]
  /** The attributes as they travel; by default those that are signed, sorted. */
  attributesElement?: Buffer
  signerVersion?: number
  digestAlgorithm?: Buffer
  signatureAlgorithm?: Buffer
  signature?: Buffer
  unsigned?: Buffer
  signers?: (signer: Buffer) => Buffer
}

/** A message with whatever parts a test wants, properly signed over its attributes unless it says otherwise. */
function message(parts: Parts = {}): Buffer {
  const attributes = parts.attributes ?? [good.contentType, good.messageDigest]
  const sorted = attributes.toSorted((a, b) => a.compare(b))
  const signer = sequence(
    integer(parts.signerVersion ?? 1),
    encodeCertificateId(party.id),
    parts.digestAlgorithm ?? sha256,
    parts.attributesElement ?? contextConstructed(0, ...sorted),
    parts.signatureAlgorithm ?? ecdsaWithSha256,
    octetString(parts.signature ?? sign('sha256', setOf(...attributes), party.key)),
    parts.unsigned ?? none,
  )
  const body = sequence(
    integer(parts.version ?? 1),
    parts.digests ?? setOf(sha256),
    parts.content ?? sequence(oid(oids.data), contextConstructed(0, octetString(content))),
    parts.certificates ?? contextConstructed(0, party.certificate),
    parts.signers?.(signer) ?? setOf(signer),
  )
  return sequence(oid(oids.signedData), contextConstructed(0, body))
}

test.each<KeyAlgorithm>(['P-256', 'P-384', 'Ed25519', 'RSA-2048', 'ML-DSA-44', 'ML-DSA-87'])(
  'what a %s key signs verifies, with every attribute',
  async (algorithm) => {
    const signer = await makeParty(await makeRoot(), algorithm)
    const attributes = [{ type: '1.2.3', values: [printableString('a'), printableString('b')] }]
    const certificates = [other.certificate, signer.certificate]
    const input = { content, signerId: signer.id, attributes, certificates, signingTime: now }
    const verified = verifySignedData(await buildSignedData(input, signer.signer))
    expect(verified.content).toEqual(content)
    expect(verified.signerCertificate).toEqual(signer.certificate)
    expect(verified.attributes.get('1.2.3')).toEqual(attributes[0]?.values)
    expect(verified.attributes.size).toBe(4)
  },
)

test('detached and absent content', async () => {
  const { id: signerId, signer, spki: signerSpki } = party
  const detached = await buildSignedData({ content, signerId, isDetached: true }, signer)
  expect(verifySignedData(detached, { signerSpki, detached: content }).content).toEqual(content)
  expectRefusal(() => verifySignedData(detached, { signerSpki }), 'cms')
  expectRefusal(() => verifySignedData(detached, { signerSpki, detached: none }), 'cms')
  const absent = await buildSignedData({ content: undefined, signerId }, signer)
  expect(verifySignedData(absent, { signerSpki }).content).toBeUndefined()
  const carried = await buildSignedData({ content, signerId }, signer)
  expectRefusal(() => verifySignedData(carried, { signerSpki, detached: content }), 'cms')
})

test('a signer named by key needs its key from elsewhere', async () => {
  const signerId = { kind: 'key-id', keyId: keyIdentifier(party.spki) } as const
  const certificates = [party.certificate]
  const der = await buildSignedData({ content, signerId, certificates }, party.signer)
  expect(verifySignedData(der, { signerSpki: party.spki }).signerId).toEqual(signerId)
  expectRefusal(() => verifySignedData(der), 'cms')
  expectRefusal(() => verifySignedData(der, { signerSpki: other.spki }), 'cms')
})

test('attributes cannot be doubled, emptied or taken over by the caller', async () => {
  const values = [printableString('a')]
  for (const attributes of [
    [{ type: '1.2.3', values: [] }],
    [
      { type: '1.2.3', values },
      { type: '1.2.3', values },
    ],
    [{ type: types.messageDigest, values }],
  ]) {
    const work = buildSignedData({ content, signerId: party.id, attributes }, party.signer)
    await expect(work).rejects.toMatchObject({ code: 'cms' })
  }
})

test.each<[string, Parts]>([
  ['as it should be', {}],
  ['attributes in another order', { attributesElement: unsorted() }],
  ['NULL in the digest algorithm', { digestAlgorithm: withNull(sha256) }],
  ['more digests than one', { digests: setOf(sha256, sha512) }],
  ['something nobody signed', { unsigned: contextConstructed(1, attribute('1.2.3', integer(1))) }],
])('F4 is read: %s', (_, parts) => {
  expect(verifySignedData(message(parts)).content).toEqual(content)
})

function unsorted(): Buffer {
  const reversed = [good.contentType, good.messageDigest].toSorted((a, b) => b.compare(a))
  return contextConstructed(0, ...reversed)
}

function withNull(algorithm: Buffer): Buffer {
  return sequence(algorithm.subarray(2), nullValue())
}

test.each<[string, () => Parts]>([
  ['no signer', () => ({ signers: () => setOf() })],
  ['two signers', () => ({ signers: (signer) => setOf(signer, signer) })],
  ['no signed attributes', () => ({ attributesElement: none, signature: overContent() })],
  ['no messageDigest', () => ({ attributes: [good.contentType] })],
  ['no contentType', () => ({ attributes: [good.messageDigest] })],
  ['the digest of something else', () => ({ attributes: withDigest(digest(none)) })],
  ['a digest cut short', () => ({ attributes: withDigest(digest(content).subarray(0, 16)) })],
  ['two digests in one attribute', () => ({ attributes: [good.contentType, twoDigests()] })],
  [
    'an attribute twice',
    () => ({ attributes: [...withDigest(digest(content)), good.contentType] }),
  ],
  [
    'S2 an attribute without value',
    () => ({ attributes: [good.contentType, good.messageDigest, attribute('1.2.3')] }),
  ],
  [
    'another content type inside the signature',
    () => ({ attributes: [attribute(types.contentType, oid('1.2.3')), good.messageDigest] }),
  ],
  ['another version', () => ({ version: 4 })],
  ['a signer of another version', () => ({ signerVersion: 3 })],
  ['an unknown digest', () => ({ digestAlgorithm: sequence(oid('1.2.3')) })],
  ['a digest that is not announced', () => ({ digests: setOf(sha512) })],
  ['no digest announced', () => ({ digests: setOf() })],
  ['C7 NULL in the signature algorithm', () => ({ signatureAlgorithm: withNull(ecdsaWithSha256) })],
  [
    'a signature algorithm with another digest',
    () => ({ signatureAlgorithm: sequence(oid('1.2.840.10045.4.3.4')) }),
  ],
  ['a signature that is not DER', () => ({ signature: Buffer.alloc(64, 1) })],
  ['a signature over the content', () => ({ signature: overContent() })],
  ['no certificate', () => ({ certificates: none })],
  [
    'the certificate of somebody else',
    () => ({ certificates: contextConstructed(0, other.certificate) }),
  ],
  [
    'an attribute certificate',
    () => ({ certificates: contextConstructed(0, contextConstructed(2)) }),
  ],
  [
    'content that is no OCTET STRING',
    () => ({ content: sequence(oid(oids.data), contextConstructed(0, sequence(content))) }),
  ],
  [
    'content under a primitive tag',
    () => ({ content: sequence(oid(oids.data), contextPrimitive(0, content)) }),
  ],
])('F4 is refused: %s', (_, parts) => {
  expectRefusal(() => verifySignedData(message(parts())), 'cms', 'der')
})

function overContent(): Buffer {
  return sign('sha256', content, party.key)
}

function withDigest(value: Buffer): Buffer[] {
  return [good.contentType, attribute(types.messageDigest, octetString(value))]
}

function twoDigests(): Buffer {
  return attribute(types.messageDigest, octetString(digest(content)), octetString(digest(none)))
}

test('F4 size, trailing bytes and every prefix', () => {
  const der = message()
  const read = (bytes: Buffer, options?: VerifyOptions) => () => verifySignedData(bytes, options)
  expectRefusal(read(der, { maxBytes: der.length - 1 }), 'der')
  expectRefusal(read(Buffer.concat([der, Buffer.alloc(1)])), 'der')
  for (let at = 0; at < der.length; at += 7) expectRefusal(read(der.subarray(0, at)), 'der')
})
