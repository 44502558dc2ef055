import { constants, type KeyObject, sign, verify } from 'node:crypto'

import { canonicalize } from './canonical.ts'
import { MetadataError } from './errors.ts'
import { type JsonObject, type JsonValue, parseStrict } from './json.ts'
import { keyId, keyIdentity, publicKeyOf, type TufKey, tufKeyOf } from './keys.ts'
import type { Envelope, PqSignature, RoleKeys, Signature } from './types.ts'

/** More signatures than any role has keys. */
const maxSignatures = 32

/**
 * The file of a metadata version: canonical, signatures first and `signed` last, so that a device can verify the
 * slice between without a parser (updates.md 2.1). `signed` must be canonical already; throws MetadataError otherwise.
 */
export function encodeEnvelope(
  signed: Buffer,
  signatures: readonly Signature[],
  pqSignatures: readonly PqSignature[] = [],
): Buffer {
  requireDistinct(signatures)
  requireDistinct(pqSignatures)
  if (!canonicalize(parseStrict(signed, signed.length)).equals(signed)) {
    throw new MetadataError('syntax', 'The signed part is not canonical')
  }
  return Buffer.concat([
    Buffer.from('{"signatures":'),
    canonicalize(signatures.map(({ keyid, sig }) => ({ keyid, sig }))),
    ...(pqSignatures.length > 0
      ? [
          Buffer.from(',"x-pq-signatures":'),
          canonicalize(pqSignatures.map(({ keyid, sig }) => ({ keyid, sig }))),
        ]
      : []),
    Buffer.from(',"signed":'),
    signed,
    Buffer.from('}'),
  ])
}

/**
 * Reads a metadata file of at most `maxBytes`. The order of members and white space are free: what signatures are over
 * is the canonical form. Throws MetadataError; a key id that signs twice is an error (TUF 1.0.34 section 4.2.1).
 */
export function decodeEnvelope(bytes: Buffer, maxBytes: number): Envelope {
  const file = parseStrict(bytes, maxBytes)
  if (!isObject(file) || !isObject(file['signed']) || !Array.isArray(file['signatures'])) {
    throw new MetadataError('shape', 'Not a metadata file')
  }
  const signed: JsonValue = file['signed']
  return {
    signed,
    signedBytes: canonicalize(signed),
    // Conformance suites send an empty signature for "not signed": it is well formed, it only never verifies.
    signatures: readSignatures(file['signatures'], /^(?:[0-9a-f]{2})*$/),
    pqSignatures: Object.hasOwn(file, 'x-pq-signatures')
      ? readSignatures(file['x-pq-signatures'], /^[A-Za-z0-9+/]{0,8192}={0,2}$/)
      : [],
  }
}

function readSignatures(values: JsonValue | undefined, form: RegExp): Signature[] {
  if (!Array.isArray(values)) throw new MetadataError('shape', 'Signatures are not a list')
  if (values.length > maxSignatures) {
    throw new MetadataError('signatures', `More than ${maxSignatures} signatures`)
  }
  const signatures = values.map((value) => {
    const { keyid, sig } = isObject(value) ? value : {}
    if (typeof keyid === 'string' && typeof sig === 'string' && form.test(sig)) {
      return { keyid, sig }
    }
    throw new MetadataError('signatures', 'A signature is {keyid, sig}')
  })
  requireDistinct(signatures)
  return signatures
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && !Array.isArray(value)
}

function requireDistinct(signatures: readonly Signature[]): void {
  if (new Set(signatures.map(({ keyid }) => keyid)).size !== signatures.length) {
    throw new MetadataError('signatures', 'A key id signs twice')
  }
}

/** Signs canonical bytes with an Ed25519 role key. */
export function signBytes(signed: Buffer, key: KeyObject): Signature {
  return { keyid: keyId(tufKeyOf(key)), sig: sign(null, signed, key).toString('hex') }
}

/** Whether `sig` (hex) is this key's signature over `signed`. False for key kinds that are not known. */
export function verifySignature(signed: Buffer, key: TufKey, sig: string): boolean {
  const publicKey = publicKeyOf(key)
  return publicKey !== undefined && verifyWith(signed, publicKey, sig)
}

function verifyWith(signed: Buffer, key: KeyObject, sig: string): boolean {
  const signature = Buffer.from(sig, 'hex')
  if (key.asymmetricKeyType === 'ed25519') return verify(null, signed, key, signature)
  if (key.asymmetricKeyType === 'ec') return verify('sha256', signed, key, signature)
  if (key.asymmetricKeyType !== 'rsa') return false
  return verify('sha256', signed, { key, padding: constants.RSA_PKCS1_PSS_PADDING }, signature)
}

/**
 * How many distinct keys of `role` signed. Keys, not key ids: one key under two names counts once
 * (TUF 1.0.34 section 4.2.1). Signatures by keys outside the role, or by unknown kinds of key, count for nothing.
 */
export function countValidSignatures(
  signed: Buffer,
  signatures: readonly Signature[],
  keys: Readonly<Record<string, TufKey>>,
  role: Pick<RoleKeys, 'keyids'>,
): number {
  const signers = new Set<string>()
  for (const { keyid, sig } of signatures) {
    if (!role.keyids.includes(keyid) || !Object.hasOwn(keys, keyid)) continue
    const tufKey = keys[keyid]
    const key = tufKey && publicKeyOf(tufKey)
    if (key && verifyWith(signed, key, sig)) signers.add(keyIdentity(key))
  }
  return signers.size
}

/** Whether the role's threshold of distinct keys is met. */
export function meetsThreshold(
  { signedBytes, signatures }: Pick<Envelope, 'signedBytes' | 'signatures'>,
  keys: Readonly<Record<string, TufKey>>,
  role: RoleKeys,
): boolean {
  return (
    role.threshold >= 1 &&
    countValidSignatures(signedBytes, signatures, keys, role) >= role.threshold
  )
}
