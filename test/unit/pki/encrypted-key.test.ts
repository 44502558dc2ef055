import { expect, test } from 'vitest'

import { integer, nullValue, octetString, oid, sequence } from '../../../pki/der/writer.ts'
import { encryptPrivateKey, readEncryptedPrivateKey } from '../../../pki/encrypted-key.ts'
import { PkiError } from '../../../pki/errors.ts'
import type { KeyAlgorithm } from '../../../pki/keys.ts'
import { generatePrivateKey } from '../../../pki/keys.ts'
import { fromPem } from '../../../pki/pem.ts'
import { encryptPkcs8 } from '../../../pki/tuf/encrypted-key.ts'
import { expectRefusal } from '../../support/pki-fixture.ts'

const passphrase = 'kettle harbor'
const key = generatePrivateKey('P-256')

test.each<KeyAlgorithm>(['P-256', 'P-384', 'Ed25519', 'RSA-2048', 'ML-DSA-65'])(
  'K5 an encrypted %s key comes back',
  async (algorithm) => {
    const original = generatePrivateKey(algorithm)
    const der = await encryptPrivateKey(original, passphrase)
    expect(readEncryptedPrivateKey(der, passphrase).equals(original)).toBe(true)
  },
)

test("K5 Node's export and a scrypt file are read", () => {
  const options = { type: 'pkcs8', format: 'der', cipher: 'aes-256-cbc', passphrase } as const
  expect(readEncryptedPrivateKey(key.export(options), passphrase).equals(key)).toBe(true)
  const plain = key.export({ type: 'pkcs8', format: 'der' })
  const [der = plain] = fromPem(encryptPkcs8(plain, passphrase, 'random'), 'ENCRYPTED PRIVATE KEY')
  expect(readEncryptedPrivateKey(der, passphrase).equals(key)).toBe(true)
})

test('K5 a wrong passphrase and a damaged file look the same', async () => {
  const der = await encryptPrivateKey(key, passphrase)
  const damaged = Buffer.from(der)
  damaged[der.length - 1] = (der.at(-1) ?? 0) ^ 1
  const messages = [
    expectRefusal(() => readEncryptedPrivateKey(der, 'other'), 'key').message,
    expectRefusal(() => readEncryptedPrivateKey(damaged, passphrase), 'key').message,
  ]
  expect(new Set(messages).size).toBe(1)
  expect(readEncryptedPrivateKey(der, passphrase).equals(key)).toBe(true)
})

const oids = {
  pbes2: '1.2.840.113549.1.5.13',
  pbkdf2: '1.2.840.113549.1.5.12',
  scrypt: '1.3.6.1.4.1.11591.4.11',
  sha256: '1.2.840.113549.2.9',
  aes256: '2.16.840.1.101.3.4.1.42',
}
const salt = octetString(Buffer.alloc(16))
const aes = sequence(oid(oids.aes256), octetString(Buffer.alloc(16)))
const file = (kdf: Buffer, scheme = aes, type = oids.pbes2) =>
  sequence(sequence(oid(type), sequence(kdf, scheme)), octetString(Buffer.alloc(160)))
const pbkdf2 = (rounds: number, prf = sequence(oid(oids.sha256), nullValue())) =>
  sequence(oid(oids.pbkdf2), sequence(salt, integer(rounds), prf))
const scrypt = (n: number, r: number, p: number) =>
  sequence(oid(oids.scrypt), sequence(salt, integer(n), integer(r), integer(p)))

test.each([
  ['a thousand million rounds', file(pbkdf2(1_000_000_000))],
  ['no rounds', file(pbkdf2(0))],
  ['a PRF nobody knows', file(pbkdf2(1000, sequence(oid('1.2.3'))))],
  ['scrypt with 4 GiB', file(scrypt(2 ** 22, 8, 1))],
  ['scrypt without end', file(scrypt(16_384, 8, 2 ** 20))],
  [
    'triple DES',
    file(pbkdf2(1000), sequence(oid('1.2.840.113549.3.7'), octetString(Buffer.alloc(8)))),
  ],
  ['PBES1', file(pbkdf2(1000), aes, '1.2.840.113549.1.5.10')],
  ['an unknown key derivation', file(sequence(oid('1.2.3'), sequence(salt)))],
  ['no parameters', sequence(sequence(oid(oids.pbes2)), octetString(Buffer.alloc(160)))],
])('K5 refused before any work is done: %s', (_, der) => {
  const error = expectRefusal(() => readEncryptedPrivateKey(der, passphrase), 'key', 'der')
  expect(error.message).not.toContain('passphrase')
})

test('K5 a key that is not allowed stays out', () => {
  const weak = Buffer.from('302e020100300506032b656e04220420' + '11'.repeat(32), 'hex') // X25519, which signs nothing
  const [der = weak] = fromPem(encryptPkcs8(weak, passphrase, 'random'), 'ENCRYPTED PRIVATE KEY')
  expectRefusal(() => readEncryptedPrivateKey(der, passphrase), 'key')
})

test('K5 each prefix and change is a typed error', async () => {
  const der = await encryptPrivateKey(key, passphrase)
  for (let at = 0; at < 100; at += 1) {
    expectRefusal(() => readEncryptedPrivateKey(der.subarray(0, at), passphrase), 'der')
  }
  for (let at = 0; at < 20; at += 1) {
    const changed = Buffer.from(der)
    changed[at] = (changed[at] ?? 0) ^ 0x81
    try {
      readEncryptedPrivateKey(changed, passphrase)
    } catch (error) {
      if (!(error instanceof PkiError)) throw error
    }
  }
})
