import { checkPrimeSync, generateKeyPairSync, generatePrimeSync, randomBytes } from 'node:crypto'

import { expect, test } from 'vitest'

import { bitString, integer, nullValue, oid, sequence } from '../../../pki/der/writer.ts'
import type { KeyAlgorithm } from '../../../pki/keys.ts'
import { generatePrivateKey, keyIdentifier, readPublicKey, spkiOf } from '../../../pki/keys.ts'
import { softwareSigner, verifySignature } from '../../../pki/signer.ts'
import { expectRefusal } from '../../support/pki-fixture.ts'

const hex = (text: string) => Buffer.from(text, 'hex')
const p256Algorithm = hex('301306072a8648ce3d020106082a8648ce3d030107')
const rsaAlgorithm = hex('300d06092a864886f70d0101010500')
const p256 = spkiOf(generatePrivateKey('P-256'))
const p256Point = p256.subarray(-65)

function rsaSpki(modulus: bigint, exponent = 65_537n, algorithm = rsaAlgorithm): Buffer {
  return sequence(algorithm, bitString(sequence(integer(modulus), integer(exponent))))
}

function modulusOf(spki: Buffer): bigint {
  const jwk = readPublicKey(spki).key.export({ format: 'jwk' })
  return BigInt(`0x${Buffer.from(String(jwk.n), 'base64url').toString('hex')}`)
}

const rsa = spkiOf(generatePrivateKey('RSA-2048'))
const modulus = modulusOf(rsa)

test.each<KeyAlgorithm>([
  'P-256',
  'P-384',
  'Ed25519',
  'RSA-2048',
  'RSA-3072',
  'ML-DSA-44',
  'ML-DSA-65',
  'ML-DSA-87',
])('C1 a %s key is read, signs and verifies', async (algorithm) => {
  const key = generatePrivateKey(algorithm)
  const signer = softwareSigner(key)
  expect(readPublicKey(signer.spki).algorithm).toBe(algorithm)
  const bytes = Buffer.from('to be signed')
  const signature = await signer.sign(bytes)
  expect(verifySignature(signer.algorithm, signer.spki, bytes, signature)).toBe(true)
  expect(verifySignature(signer.algorithm, signer.spki, Buffer.from('other'), signature)).toBe(
    false,
  )
})

test('C20 the honest twins of the keys below are read', () => {
  expect(readPublicKey(sequence(p256Algorithm, bitString(p256Point))).spki).toEqual(p256)
  expect(readPublicKey(rsaSpki(modulus)).algorithm).toBe('RSA-2048')
})

test.each([
  ['trailing bytes', Buffer.concat([p256, hex('0500')])],
  ['BER length', Buffer.concat([hex('308159'), p256.subarray(2)])],
  ['trailing element inside', sequence(p256.subarray(2), nullValue())],
  ['compressed point', sequence(p256Algorithm, bitString(compressed(p256Point)))],
  ['hybrid point', sequence(p256Algorithm, bitString(hybrid(p256Point)))],
  ['infinity', sequence(p256Algorithm, bitString(hex('00')))],
  ['point of P-384 under P-256', sequence(p256Algorithm, bitString(Buffer.alloc(97, 4)))],
  [
    'off-curve point',
    sequence(p256Algorithm, bitString(Buffer.concat([hex('04'), Buffer.alloc(64, 1)]))),
  ],
  [
    'unused bits',
    sequence(p256Algorithm, Buffer.concat([hex('034204'), p256Point.subarray(0, -1), hex('f0')])),
  ],
  ['missing curve', sequence(hex('300906072a8648ce3d0201'), bitString(p256Point))],
  [
    'explicit curve',
    sequence(sequence(oid('1.2.840.10045.2.1'), sequence(integer(1))), bitString(p256Point)),
  ],
  ['P-192', spkiOf(generateKeyPairSync('ec', { namedCurve: 'prime192v1' }).publicKey)],
  ['secp256k1', spkiOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey)],
  ['RSA without NULL', rsaSpki(modulus, 65_537n, hex('300b06092a864886f70d010101'))],
  ['RSA-1024', spkiOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey)],
  ['RSA of 32,768 bits', rsaSpki((1n << 32_767n) + 1n)],
  ['RSA with e = 1', rsaSpki(modulus, 1n)],
  ['RSA with e = 3', rsaSpki(modulus, 3n)],
  ['RSA with an even modulus', rsaSpki(modulus - 1n)],
  ['RSA with a small factor', rsaSpki(((modulus / 743n) | 1n) * 743n)],
  ['RSA-PSS', spkiOf(generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey)],
  ['X25519', spkiOf(generateKeyPairSync('x25519').publicKey)],
  [
    'Ed25519 neutral element',
    sequence(hex('300506032b6570'), bitString(hex('01'.padEnd(64, '0')))),
  ],
  ['Ed25519 with NULL', sequence(hex('300706032b65700500'), bitString(Buffer.alloc(32, 9)))],
  ['Ed25519 too short', sequence(hex('300506032b6570'), bitString(Buffer.alloc(31, 9)))],
  ['ML-DSA too short', sequence(hex('300b0609608648016503040311'), bitString(Buffer.alloc(1311)))],
  ['nothing', Buffer.alloc(0)],
])('C15 C20 the key is refused: %s', (_, spki) => {
  expectRefusal(() => readPublicKey(spki), 'key', 'der')
  expect(verifySignature(hex('300a06082a8648ce3d040302'), spki, Buffer.alloc(1), spki)).toBe(false)
})

function compressed(point: Buffer): Buffer {
  const isOdd = ((point.at(-1) ?? 0) & 1) === 1
  return Buffer.concat([hex(isOdd ? '03' : '02'), point.subarray(1, 33)])
}

function hybrid(point: Buffer): Buffer {
  const isOdd = ((point.at(-1) ?? 0) & 1) === 1
  return Buffer.concat([hex(isOdd ? '07' : '06'), point.subarray(1)])
}

test('C15 ROCA: a modulus that is a power of 65537 modulo the primorial', () => {
  let primorial = 1n
  for (let prime = 2n; prime <= 167n; prime += 1n) {
    if (checkPrimeSync(prime)) primorial *= prime
  }
  const residue = 65_537n ** 11n % primorial
  const top = (1n << 2047n) + (BigInt(`0x${randomBytes(200).toString('hex')}`) << 200n)
  const start = top - (top % primorial) + residue
  const mayPass = (candidate: bigint) =>
    candidate % 2n === 1n && [173n, 179n, 181n].every((prime) => candidate % prime !== 0n)
  const found = Array.from({ length: 100 }, (_, step) => start + BigInt(step) * primorial)
    .filter(mayPass)
    .map((candidate) => expectRefusal(() => readPublicKey(rsaSpki(candidate)), 'key').message)
  expect(found.some((message) => message.includes('ROCA'))).toBe(true)
})

test('C15 close primes fall to Fermat', () => {
  const p = generatePrimeSync(1024, { bigint: true })
  let q = p + 2n
  while (!checkPrimeSync(q)) q += 2n
  const { message } = expectRefusal(() => readPublicKey(rsaSpki(p * q)), 'key')
  expect(message).toMatch(/close/)
})

test('an algorithm of another key family does not verify', async () => {
  const signer = softwareSigner(generatePrivateKey('Ed25519'))
  const bytes = Buffer.from('x')
  const signature = await signer.sign(bytes)
  expect(verifySignature(p256Algorithm, signer.spki, bytes, signature)).toBe(false)
  expect(verifySignature(Buffer.alloc(0), signer.spki, bytes, signature)).toBe(false)
  expect(verifySignature(signer.algorithm, signer.spki, bytes, signature)).toBe(true)
})

test('P4 the key identifier is 160 bits of SHA-256 over the key octets', () => {
  expect(keyIdentifier(p256)).toHaveLength(20)
  expect(keyIdentifier(p256)).not.toEqual(keyIdentifier(rsa))
})
