import type { KeyObject } from 'node:crypto'
import { sign, verify } from 'node:crypto'
import { promisify } from 'node:util'

import type { KeyFamily, SignatureAlgorithm } from './algorithms.ts'
import { signatureAlgorithmOf, signingIdentifierOf } from './algorithms.ts'
import { PkiError } from './errors.ts'
import type { PublicKey } from './keys.ts'
import { readPublicKey, spkiOf } from './keys.ts'

/** Something that signs: a key in memory, a token, a key service. Callers never see the private key. */
export interface Signer {
  /** AlgorithmIdentifier of its signatures, DER. */
  readonly algorithm: Buffer
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer
  sign(bytes: Buffer): Promise<Buffer>
}

type Digest = SignatureAlgorithm['digest']

const signAsync = promisify(sign)
/** Signing with these takes less than the way to the thread pool and back; the others would hold up the event loop. */
const quickFamilies: readonly KeyFamily[] = ['P-256', 'Ed25519']

/** Those that `softwareSigner` made for ECDSA keys; a copy or a wrapper of one is not among them. */
const ownSigners = new WeakSet<Signer>()

/**
 * Whether an answer of this signer has to be verified before anything is done with it: always, except for an ECDSA key in our
 * own memory. Between us and that one there is no token, driver or network that could answer falsely, and its public key
 * was tried when the signer was made. Verifying costs twice what signing does. Of the other algorithms a faulty
 * signature gives away the key (RSA-CRT, Ed25519), so theirs are verified wherever the key is.
 */
export function mustBeVerified(signer: Signer): boolean {
  return !ownSigners.has(signer)
}

/**
 * A signer over a private key in memory: ECDSA with SHA-256 or SHA-384 by curve, Ed25519, RSA PKCS#1 v1.5 with
 * SHA-256, ML-DSA. Throws PkiError `key` for a key that `readPublicKey` refuses, and for an ECDSA key whose public part
 * does not belong to it.
 */
export function softwareSigner(privateKey: KeyObject): Signer {
  if (privateKey.type !== 'private') throw new PkiError('key', 'A signer needs a private key')
  const { spki, family } = readPublicKey(spkiOf(privateKey))
  const algorithm = signingIdentifierOf(family)
  const digest = signatureAlgorithmOf(algorithm)?.digest ?? null
  const signer: Signer = {
    algorithm,
    spki,
    async sign(bytes) {
      if (quickFamilies.includes(family)) return sign(digest, bytes, privateKey)
      return await signAsync(digest, bytes, privateKey)
    },
  }
  if (family === 'P-256' || family === 'P-384') {
    assertPair(privateKey, signer, digest)
    ownSigners.add(signer)
  }
  return signer
}

/** A stored EC key brings its public part along, and OpenSSL takes it as it is (RFC 5915 §3). */
function assertPair(privateKey: KeyObject, { algorithm, spki }: Signer, digest: Digest): void {
  const bytes = Buffer.from('a pair of keys')
  if (!verifySignature(algorithm, spki, bytes, sign(digest, bytes, privateKey))) {
    throw new PkiError('key', 'The public part of the private key belongs to another one')
  }
}

/** Signs at once, for the device's own request. Same algorithms as `softwareSigner`. */
export function signNow(
  privateKey: KeyObject,
  bytes: Buffer,
): { algorithm: Buffer; signature: Buffer } {
  const { family } = readPublicKey(spkiOf(privateKey))
  const algorithm = signingIdentifierOf(family)
  const digest = signatureAlgorithmOf(algorithm)?.digest ?? null
  return { algorithm, signature: sign(digest, bytes, privateKey) }
}

/**
 * Whether `signature` over `bytes` was made by the key in `spki` under exactly this AlgorithmIdentifier (DER).
 * Unknown algorithms, keys that `readPublicKey` refuses and algorithms of another key family are false.
 */
export function verifySignature(
  algorithmIdentifier: Buffer,
  spki: Buffer,
  bytes: Buffer,
  signature: Buffer,
): boolean {
  let publicKey: PublicKey
  try {
    publicKey = readPublicKey(spki)
  } catch (error) {
    if (error instanceof PkiError) return false
    throw error
  }
  return verifyWithKey(algorithmIdentifier, publicKey, bytes, signature)
}

/** `verifySignature` with a key that was read before. */
export function verifyWithKey(
  algorithmIdentifier: Buffer,
  publicKey: PublicKey,
  bytes: Buffer,
  signature: Buffer,
): boolean {
  const algorithm = signatureAlgorithmOf(algorithmIdentifier)
  if (!algorithm?.families.includes(publicKey.family)) return false
  return verify(algorithm.digest, bytes, publicKey.key, signature)
}
