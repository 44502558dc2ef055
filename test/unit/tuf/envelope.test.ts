import { generateKeyPairSync, sign } from 'node:crypto'

import { expect, test } from 'vitest'

import { canonicalize } from '../../../pki/tuf/canonical.ts'
import {
  countValidSignatures,
  decodeEnvelope,
  encodeEnvelope,
  meetsThreshold,
  signBytes,
  verifySignature,
} from '../../../pki/tuf/envelope.ts'
import {
  exportEncrypted,
  generateRoleKey,
  importEncrypted,
  keyId,
  type TufKey,
  tufKeyOf,
} from '../../../pki/tuf/keys.ts'
import { makeKeys } from '../../support/tuf-repository.ts'

const signed = canonicalize({ _type: 'root', version: 1 })

test('a file: signatures first, signed last and byte for byte what was signed', () => {
  const key = generateRoleKey()
  const signature = signBytes(signed, key)
  const file = encodeEnvelope(signed, [signature])
  expect(file.toString()).toBe(
    `{"signatures":[{"keyid":"${signature.keyid}","sig":"${signature.sig}"}],"signed":${signed.toString()}}`,
  )
  const read = decodeEnvelope(file, file.length)
  expect(read.signedBytes).toEqual(signed)
  expect(read.signatures).toEqual([signature])
  expect(verifySignature(read.signedBytes, tufKeyOf(key), signature.sig)).toBe(true)
  expect(() => decodeEnvelope(file, file.length - 1)).toThrow('at most')
})

test('what is not canonical is not wrapped', () => {
  expect(() => encodeEnvelope(Buffer.from('{"b":1,"a":2}'), [])).toThrow('not canonical')
  expect(() => encodeEnvelope(Buffer.from('{"a": 1}'), [])).toThrow('not canonical')
})

test('a key id that signs twice is an error, written and read', () => {
  const signature = signBytes(signed, generateRoleKey())
  expect(() => encodeEnvelope(signed, [signature, signature])).toThrow('signs twice')
  const text = canonicalize({ signatures: [signature, { ...signature, sig: '00' }], signed: {} })
  expect(() => decodeEnvelope(text, 10_000)).toThrow('signs twice')
})

test.each([
  ['[]', 'Not a metadata file'],
  ['{"signatures":[]}', 'Not a metadata file'],
  ['{"signed":{}}', 'Not a metadata file'],
  ['{"signatures":{},"signed":{}}', 'Not a metadata file'],
  ['{"signatures":[],"signed":[]}', 'Not a metadata file'],
  ['{"signatures":[1],"signed":{}}', 'A signature is'],
  ['{"signatures":[{"keyid":"a"}],"signed":{}}', 'A signature is'],
  ['{"signatures":[{"keyid":"a","sig":"zz"}],"signed":{}}', 'A signature is'],
  ['{"signatures":[{"keyid":"a","sig":"abc"}],"signed":{}}', 'A signature is'],
])('%s is no file', (text, message) => {
  expect(() => decodeEnvelope(Buffer.from(text), 1000)).toThrow(message)
})

test('more signatures than any role has keys are not tried', () => {
  const many = Array.from({ length: 33 }, (_, index) => ({ keyid: `k${index}`, sig: '' }))
  expect(() => decodeEnvelope(canonicalize({ signatures: many, signed: {} }), 10_000)).toThrow('32')
})

test('distinct keys of the role count, and nothing else does', () => {
  const all = makeKeys(3)
  const keys = Object.fromEntries(all.map((key) => [keyId(tufKeyOf(key)), tufKeyOf(key)]))
  const role = { keyids: Object.keys(keys).slice(0, 2), threshold: 2 }
  const signatures = all.map((key) => signBytes(signed, key))
  const count = (list: typeof signatures) => countValidSignatures(signed, list, keys, role)
  expect(count(signatures)).toBe(2)
  expect(count(signatures.slice(1))).toBe(1)
  expect(count(signatures.map(({ keyid }) => ({ keyid, sig: '' })))).toBe(0)
  expect(countValidSignatures(canonicalize({}), signatures, keys, role)).toBe(0)
  const envelope = { signedBytes: signed, signatures }
  expect(meetsThreshold(envelope, keys, role)).toBe(true)
  expect(meetsThreshold(envelope, keys, { ...role, threshold: 3 })).toBe(false)
  expect(meetsThreshold(envelope, keys, { keyids: [], threshold: 0 })).toBe(false)
})

test('P-256 as hex point and as PEM, RSA-PSS as PEM: verified', () => {
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const ecSig = sign('sha256', signed, ec.privateKey).toString('hex')
  const { x = '', y = '' } = ec.publicKey.export({ format: 'jwk' })
  const point = Buffer.concat([
    Buffer.of(4),
    Buffer.from(x, 'base64url'),
    Buffer.from(y, 'base64url'),
  ])
  const ecdsa = { keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256' }
  for (const text of [
    point.toString('hex'),
    ec.publicKey.export({ format: 'pem', type: 'spki' }),
  ]) {
    const key = { ...ecdsa, keyval: { public: String(text) } }
    expect(verifySignature(signed, key, ecSig)).toBe(true)
    expect(verifySignature(canonicalize({}), key, ecSig)).toBe(false)
  }
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const text = rsa.publicKey.export({ format: 'pem', type: 'spki' })
  const padding = { key: rsa.privateKey, padding: 6, saltLength: 32 }
  const rsaKey = { keytype: 'rsa', scheme: 'rsassa-pss-sha256', keyval: { public: String(text) } }
  expect(verifySignature(signed, rsaKey, sign('sha256', signed, padding).toString('hex'))).toBe(
    true,
  )
  const pkcs1 = sign('sha256', signed, rsa.privateKey).toString('hex')
  expect(verifySignature(signed, rsaKey, pkcs1)).toBe(false)
})

test.each<[string, TufKey]>([
  ['unknown kind', { keytype: 'x', scheme: 'x', keyval: { public: '00' } }],
  ['short Ed25519', { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: '00' } }],
  ['upper case', { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: 'AB'.repeat(32) } }],
  [
    'no curve point',
    { keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256', keyval: { public: `04${'ff'.repeat(64)}` } },
  ],
  ['no PEM', { keytype: 'rsa', scheme: 'rsassa-pss-sha256', keyval: { public: 'x' } }],
])('a key of %s never verifies and never throws', (_, key) => {
  expect(verifySignature(signed, key, '00'.repeat(64))).toBe(false)
})

test('a private key travels encrypted, and only so', () => {
  const key = generateRoleKey()
  const text = exportEncrypted(key, 'correct horse')
  expect(text).toMatch(/^-----BEGIN ENCRYPTED PRIVATE KEY-----\n/)
  expect(keyId(tufKeyOf(importEncrypted(text, 'correct horse')))).toBe(keyId(tufKeyOf(key)))
  expect(exportEncrypted(key, 'correct horse')).not.toBe(text)
  expect(() => importEncrypted(text, 'wrong horse')).toThrow('passphrase')
  const clear = key.export({ format: 'pem', type: 'pkcs8' }).toString()
  expect(() => importEncrypted(clear, 'correct horse')).toThrow('Not an encrypted')
  expect(() => exportEncrypted(key, 'short')).toThrow('at least 8')
})

test('only Ed25519 keys sign', () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  expect(() => tufKeyOf(privateKey)).toThrow('Ed25519')
  expect(() => signBytes(signed, privateKey)).toThrow('Ed25519')
})
