import { verify } from 'node:crypto'

import type { KeyFamily } from '../algorithms.ts'
import { signatureAlgorithmOf } from '../algorithms.ts'
import { PkiError } from '../errors.ts'
import type { PublicKey } from '../keys.ts'
import type { Signer } from '../signer.ts'
import { verifyWithKey } from '../signer.ts'

export type Digest = 'sha1' | 'sha256' | 'sha384' | 'sha512'

/** Digest AlgorithmIdentifiers as hex, without parameters and with NULL; receivers take both (RFC 5754 §2). */
const digests: Readonly<Record<string, Digest>> = {
  '300706052b0e03021a': 'sha1',
  '300906052b0e03021a0500': 'sha1',
  '300b0609608648016503040201': 'sha256',
  '300d06096086480165030402010500': 'sha256',
  '300b0609608648016503040202': 'sha384',
  '300d06096086480165030402020500': 'sha384',
  '300b0609608648016503040203': 'sha512',
  '300d06096086480165030402030500': 'sha512',
}

const digestIdentifiers: Readonly<Record<Exclude<Digest, 'sha1'>, string>> = {
  sha256: '300b0609608648016503040201',
  sha384: '300b0609608648016503040202',
  sha512: '300b0609608648016503040203',
}

const rsaEncryption = Buffer.from('300d06092a864886f70d0101010500', 'hex')
/** The spellings of RSA PKCS #1 v1.5, as hex, with the digest each one names: receivers take absent parameters too (RFC 4055 §5). */
const rsaSpellings = new Map<string, Digest | 'any'>([
  ['300d06092a864886f70d0101010500', 'any'],
  ['300b06092a864886f70d010101', 'any'],
  ['300d06092a864886f70d0101050500', 'sha1'],
  ['300b06092a864886f70d010105', 'sha1'],
  ['300d06092a864886f70d01010b0500', 'sha256'],
  ['300b06092a864886f70d01010b', 'sha256'],
  ['300d06092a864886f70d01010c0500', 'sha384'],
  ['300b06092a864886f70d01010c', 'sha384'],
  ['300d06092a864886f70d01010d0500', 'sha512'],
  ['300b06092a864886f70d01010d', 'sha512'],
])

/** Digests that go with the signature schemes that hash by themselves: RFC 8419 §3.1, RFC 9882 §3.3. */
const digestsOfScheme: Partial<Readonly<Record<KeyFamily, readonly Digest[]>>> = {
  Ed25519: ['sha512'],
  'ML-DSA-44': ['sha256', 'sha384', 'sha512'],
  'ML-DSA-65': ['sha384', 'sha512'],
  'ML-DSA-87': ['sha512'],
}

const maxIdentifierBytes = 32

/** The digest of a DigestAlgorithmIdentifier, or undefined when it is not on the list. */
export function digestOf(identifier: Buffer): Digest | undefined {
  if (identifier.length > maxIdentifierBytes) return undefined
  const hex = identifier.toString('hex')
  return Object.hasOwn(digests, hex) ? digests[hex] : undefined
}

/** How a signer of this library signs a SignerInfo. */
export function signingMethod(signer: Signer): {
  digest: Digest
  digestIdentifier: Buffer
  signatureIdentifier: Buffer
} {
  const algorithm = signatureAlgorithmOf(signer.algorithm)
  if (!algorithm) throw new PkiError('cms', 'The signer uses an unknown algorithm')
  const digest = algorithm.digest ?? 'sha512'
  const isRsa = algorithm.families.includes('RSA')
  return {
    digest,
    digestIdentifier: Buffer.from(digestIdentifiers[digest], 'hex'),
    // The older spelling is the one that every SCEP client knows.
    signatureIdentifier: isRsa ? rsaEncryption : signer.algorithm,
  }
}

/**
 * Whether `signature` over `bytes` is the key's under this signature AlgorithmIdentifier, which must agree with the
 * SignerInfo's digest. SHA-1 never counts but with RSA.
 */
export function verifySignerSignature(
  method: { signatureIdentifier: Buffer; digest: Digest },
  key: PublicKey,
  bytes: Buffer,
  signature: Buffer,
): boolean {
  const { signatureIdentifier, digest } = method
  if (key.family === 'RSA') {
    const named = rsaSpellings.get(signatureIdentifier.toString('hex', 0, maxIdentifierBytes))
    const agrees = named === 'any' || named === digest
    return agrees && verify(digest, bytes, key.key, signature)
  }
  const algorithm = signatureAlgorithmOf(signatureIdentifier)
  if (!algorithm) return false
  const agrees = algorithm.digest
    ? algorithm.digest === digest
    : (digestsOfScheme[key.family]?.includes(digest) ?? false)
  return agrees && verifyWithKey(signatureIdentifier, key, bytes, signature)
}
