import type { KeyObject } from 'node:crypto'
import { createPublicKey, generateKeyPairSync, hash } from 'node:crypto'

import type { KeyAlgorithm, KeyFamily } from './algorithms.ts'
import { keyFamilyOf, readAlgorithm } from './algorithms.ts'
import { DerReader } from './der/reader.ts'
import { tags } from './der/tags.ts'
import { isLowOrderEd25519 } from './ed25519.ts'
import { PkiError } from './errors.ts'
import { toPem } from './pem.ts'
import { rsaWeakness } from './rsa-weakness.ts'

export type { KeyAlgorithm } from './algorithms.ts'

export interface PublicKey {
  /** `RSA` is an RSA key of an allowed size that has no name of its own, such as 2560 bits. */
  readonly algorithm: KeyAlgorithm | 'RSA'
  readonly family: KeyFamily
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer
  readonly key: KeyObject
}

const octetsOf: Readonly<Record<Exclude<KeyFamily, 'RSA'>, number>> = {
  'P-256': 65,
  'P-384': 97,
  Ed25519: 32,
  'ML-DSA-44': 1312,
  'ML-DSA-65': 1952,
  'ML-DSA-87': 2592,
}

const uncompressedPoint = 0x04
const rsaExponent = 65_537
const minRsaBits = 2048
const maxRsaBits = 4096

/**
 * Reads a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7). OpenSSL sees the key only after the algorithm is on our
 * list byte for byte, an EC point is uncompressed and of exact length, and an RSA key has an odd
 * modulus of 2048 to 4096 bits and e = 65537: by itself it accepts much more (pki.md T10).
 *
 * @throws PkiError `der` for malformed DER, `key` for a key that is refused
 */
export function readPublicKey(spki: Buffer): PublicKey {
  const name = spki.toString('latin1')
  const recent = recentKeys.get(name)
  if (recent) return { algorithm: recent.algorithm, family: recent.family, key: recent.key, spki }
  const { family, octets } = openSpki(spki)
  const algorithm = family === 'RSA' ? readRsa(octets) : checkOctets(family, octets)
  const read = { algorithm, family, key: importKey(spki), keyId: keyIdOf(octets) }
  const [oldest] = recentKeys.keys()
  if (oldest !== undefined && recentKeys.size >= maxRecentKeys) recentKeys.delete(oldest)
  recentKeys.set(name, read)
  return { algorithm, family, key: read.key, spki }
}

/**
 * Public keys that were read and found good. One issuance reads the issuer's key and the device's several times, those of a
 * group one after the other, and importing a key costs a fifth of a verification.
 */
const recentKeys = new Map<string, Omit<PublicKey, 'spki'> & { keyId: Buffer }>()
const maxRecentKeys = 1_024

/** The family of the key in a SubjectPublicKeyInfo, without a look at the key. Throws like `readPublicKey`. */
export function keyFamilyIn(spki: Buffer): KeyFamily {
  return openSpki(spki).family
}

/** The subjectPublicKey octets of a SubjectPublicKeyInfo, whatever its algorithm. */
export function publicKeyOctets(spki: Buffer): Buffer {
  return splitSpki(spki).octets
}

/** RFC 7093 §2 method 1: the leftmost 160 bits of SHA-256 over the subjectPublicKey octets. */
export function keyIdentifier(spki: Buffer): Buffer {
  const recent = recentKeys.get(spki.toString('latin1'))
  return recent ? recent.keyId : keyIdOf(publicKeyOctets(spki))
}

function keyIdOf(octets: Buffer): Buffer {
  return hash('sha256', octets, 'buffer').subarray(0, 20)
}

/** A new private key. */
export function generatePrivateKey(algorithm: KeyAlgorithm): KeyObject {
  switch (algorithm) {
    case 'P-256':
    case 'P-384':
      return generateKeyPairSync('ec', { namedCurve: algorithm }).privateKey
    case 'Ed25519':
      return generateKeyPairSync('ed25519').privateKey
    case 'RSA-2048':
    case 'RSA-3072':
    case 'RSA-4096': {
      const modulusLength = Number(algorithm.slice('RSA-'.length))
      return generateKeyPairSync('rsa', { modulusLength, publicExponent: rsaExponent }).privateKey
    }
    case 'ML-DSA-44':
      return generateKeyPairSync('ml-dsa-44').privateKey
    case 'ML-DSA-65':
      return generateKeyPairSync('ml-dsa-65').privateKey
    case 'ML-DSA-87':
      return generateKeyPairSync('ml-dsa-87').privateKey
    default:
      throw new PkiError('key', 'Unknown key algorithm')
  }
}

/** SubjectPublicKeyInfo of a private or public key, DER. */
export function spkiOf(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  if (publicKey.type !== 'public') throw new PkiError('key', 'A secret key has no public part')
  return publicKey.export({ type: 'spki', format: 'der' })
}

function splitSpki(spki: Buffer): { algorithm: Buffer; octets: Buffer } {
  const reader = new DerReader(spki)
  const body = reader.enter(tags.sequence)
  reader.finish()
  const algorithm = readAlgorithm(body)
  const octets = body.bitStringOctets()
  body.finish()
  return { algorithm, octets }
}

function openSpki(spki: Buffer): { family: KeyFamily; octets: Buffer } {
  const { algorithm, octets } = splitSpki(spki)
  const family = keyFamilyOf(algorithm)
  if (!family) throw new PkiError('key', 'Key algorithm or its parameters are not allowed')
  return { family, octets }
}

function checkOctets(family: Exclude<KeyFamily, 'RSA'>, octets: Buffer): Exclude<KeyFamily, 'RSA'> {
  if (octets.length !== octetsOf[family]) {
    throw new PkiError('key', `A ${family} key of the wrong length`)
  }
  const isCurve = family === 'P-256' || family === 'P-384'
  if (isCurve && octets[0] !== uncompressedPoint) {
    throw new PkiError('key', 'Only uncompressed points are allowed')
  }
  // With such a key one signature fits many messages: possession would prove nothing.
  if (family === 'Ed25519' && isLowOrderEd25519(octets)) {
    throw new PkiError('key', 'An Ed25519 key of low order')
  }
  return family
}

/** RSAPublicKey (RFC 8017 A.1.1). */
function readRsa(octets: Buffer): KeyAlgorithm | 'RSA' {
  const reader = new DerReader(octets)
  const body = reader.enter(tags.sequence)
  reader.finish()
  const modulus = body.integer()
  const exponent = body.integer()
  body.finish()
  if (exponent.length !== 3 || exponent.readUIntBE(0, 3) !== rsaExponent) {
    throw new PkiError('key', `The RSA exponent must be ${rsaExponent}`)
  }
  const bits = bitLength(modulus)
  if (bits < minRsaBits || bits > maxRsaBits) {
    throw new PkiError('key', `An RSA modulus has ${minRsaBits} to ${maxRsaBits} bits`)
  }
  const weakness = rsaWeakness(BigInt(`0x${modulus.toString('hex')}`))
  if (weakness) throw new PkiError('key', weakness)
  switch (bits) {
    case 2048:
      return 'RSA-2048'
    case 3072:
      return 'RSA-3072'
    case 4096:
      return 'RSA-4096'
    default:
      return 'RSA'
  }
}

/** Bits of a minimal INTEGER; 0 when it is negative. */
function bitLength(content: Buffer): number {
  const [first = 0, second = 0] = content
  if (first >= 0x80) return 0
  if (first === 0) return (content.length - 2) * 8 + (32 - Math.clz32(second))
  return (content.length - 1) * 8 + (32 - Math.clz32(first))
}

/**
 * As text, although there is nothing in it but the DER: Node 24 looks at every object it is given by way of two exceptions, and
 * for text it does not, which is a third of the time.
 */
function importKey(spki: Buffer): KeyObject {
  try {
    return createPublicKey(toPem('PUBLIC KEY', spki))
  } catch (error) {
    throw new PkiError('key', 'The public key is not valid', undefined, { cause: error })
  }
}
