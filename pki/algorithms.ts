import type { DerReader } from './der/reader.ts'
import { tags } from './der/tags.ts'

/**
 * The AlgorithmIdentifiers this library knows, byte for byte. An identifier is compared, never parsed:
 * NULL parameters where there must be none, absent ones where there must be NULL, explicit curves and
 * every other spelling fail by not being on the list (pki.md T9, T10).
 */
export type KeyAlgorithm =
  | 'P-256'
  | 'P-384'
  | 'Ed25519'
  | 'RSA-2048'
  | 'RSA-3072'
  | 'RSA-4096'
  | 'ML-DSA-44'
  | 'ML-DSA-65'
  | 'ML-DSA-87'

export type KeyFamily =
  | 'P-256'
  | 'P-384'
  | 'Ed25519'
  | 'RSA'
  | 'ML-DSA-44'
  | 'ML-DSA-65'
  | 'ML-DSA-87'

/** SubjectPublicKeyInfo.algorithm as hex: RFC 5480, RFC 8410, RFC 3279, RFC 9881. */
const keyFamilies: Readonly<Record<string, KeyFamily>> = {
  '301306072a8648ce3d020106082a8648ce3d030107': 'P-256',
  '301006072a8648ce3d020106052b81040022': 'P-384',
  '300506032b6570': 'Ed25519',
  '300d06092a864886f70d0101010500': 'RSA',
  '300b0609608648016503040311': 'ML-DSA-44',
  '300b0609608648016503040312': 'ML-DSA-65',
  '300b0609608648016503040313': 'ML-DSA-87',
}

export interface SignatureAlgorithm {
  /** Digest to give node:crypto; null where the scheme hashes by itself. */
  readonly digest: 'sha256' | 'sha384' | 'sha512' | null
  readonly families: readonly KeyFamily[]
}

const ecdsaFamilies: readonly KeyFamily[] = ['P-256', 'P-384']

/** Signature AlgorithmIdentifier as hex: RFC 5758, RFC 8410, RFC 4055, RFC 9881. SHA-1 is not here. */
const signatureAlgorithms: Readonly<Record<string, SignatureAlgorithm>> = {
  '300a06082a8648ce3d040302': { digest: 'sha256', families: ecdsaFamilies },
  '300a06082a8648ce3d040303': { digest: 'sha384', families: ecdsaFamilies },
  '300a06082a8648ce3d040304': { digest: 'sha512', families: ecdsaFamilies },
  '300506032b6570': { digest: null, families: ['Ed25519'] },
  '300d06092a864886f70d01010b0500': { digest: 'sha256', families: ['RSA'] },
  '300d06092a864886f70d01010c0500': { digest: 'sha384', families: ['RSA'] },
  '300d06092a864886f70d01010d0500': { digest: 'sha512', families: ['RSA'] },
  '300b0609608648016503040311': { digest: null, families: ['ML-DSA-44'] },
  '300b0609608648016503040312': { digest: null, families: ['ML-DSA-65'] },
  '300b0609608648016503040313': { digest: null, families: ['ML-DSA-87'] },
}

/** What each key family signs with when we sign. */
const signingIdentifiers: Readonly<Record<KeyFamily, string>> = {
  'P-256': '300a06082a8648ce3d040302',
  'P-384': '300a06082a8648ce3d040303',
  Ed25519: '300506032b6570',
  RSA: '300d06092a864886f70d01010b0500',
  'ML-DSA-44': '300b0609608648016503040311',
  'ML-DSA-65': '300b0609608648016503040312',
  'ML-DSA-87': '300b0609608648016503040313',
}

/** Longest identifier on either list, so that nothing long is turned into hex. */
const maxIdentifierBytes = 32

/**
 * Reads one AlgorithmIdentifier (RFC 5280 §4.1.1.2: an OID and at most one parameter) and gives its bytes, on a list or not.
 * Throws PkiError `der`.
 */
export function readAlgorithm(reader: DerReader): Buffer {
  const element = reader.next(tags.sequence)
  const body = reader.inside(element)
  body.oid()
  if (!body.isDone()) body.next()
  body.finish()
  return reader.buffer.subarray(element.start, element.end)
}

/** Family of a SubjectPublicKeyInfo.algorithm, or undefined when it is not on the list. */
export function keyFamilyOf(identifier: Buffer): KeyFamily | undefined {
  return lookUp(keyFamilies, identifier)
}

/** A signature AlgorithmIdentifier, or undefined when it is not on the list. */
export function signatureAlgorithmOf(identifier: Buffer): SignatureAlgorithm | undefined {
  return lookUp(signatureAlgorithms, identifier)
}

export function signingIdentifierOf(family: KeyFamily): Buffer {
  return Buffer.from(signingIdentifiers[family], 'hex')
}

function lookUp<T>(list: Readonly<Record<string, T>>, identifier: Buffer): T | undefined {
  if (identifier.length > maxIdentifierBytes) return undefined
  const hex = identifier.toString('hex')
  return Object.hasOwn(list, hex) ? list[hex] : undefined
}
