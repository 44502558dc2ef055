import { createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto'

import { meetsThreshold } from './envelope.ts'
import { MetadataError } from './errors.ts'
import { keyId, keyIdentity, type TufKey } from './keys.ts'
import type {
  Delegation,
  Envelope,
  PqSignature,
  RoleKeys,
  RootMetadata,
  TargetsMetadata,
} from './types.ts'

/*
 * Hybrid signatures (updates.md 10): ML-DSA (FIPS 204) beside Ed25519 on what is signed offline and lives long. They are in fields of
 * their own, so that clients that know nothing of them verify the Ed25519 half unchanged.
 */

/** Signatures of this design verify nowhere else, and none made elsewhere verifies here (FIPS 204 section 5.2). */
const context = Buffer.from('fleetseal-tuf-v1')

/** Parameter sets by scheme, with the length of a raw public key in bytes (FIPS 204 table 2). */
const schemes = {
  'ml-dsa-44': { alg: 'ML-DSA-44', publicBytes: 1312 },
  'ml-dsa-65': { alg: 'ML-DSA-65', publicBytes: 1952 },
  'ml-dsa-87': { alg: 'ML-DSA-87', publicBytes: 2592 },
} as const
export type PqScheme = keyof typeof schemes

function isScheme(name: string | undefined): name is PqScheme {
  return name !== undefined && Object.hasOwn(schemes, name)
}

/** A new ML-DSA private key. */
export function generatePqKey(scheme: PqScheme = 'ml-dsa-65'): KeyObject {
  // The types list each name in an overload of its own.
  return generateKeyPairSync(scheme as 'ml-dsa-65').privateKey
}

export function isPqKey(key: KeyObject): boolean {
  return isScheme(key.asymmetricKeyType)
}

/** The public half as `x-pq-keys` carries it: base64 of the raw key. Throws MetadataError for other kinds. */
export function pqTufKeyOf(key: KeyObject): TufKey {
  const scheme = key.asymmetricKeyType
  if (!isScheme(scheme)) throw new MetadataError('key', 'Post-quantum role keys are ML-DSA')
  const { pub } = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' })
  const raw = Buffer.from(String(pub), 'base64url')
  return { keytype: 'ml-dsa', scheme, keyval: { public: raw.toString('base64') } }
}

/** The key to verify with; undefined for a kind that is not known, or a damaged one: such a key never counts. */
export function pqPublicKeyOf({ keytype, scheme, keyval }: TufKey): KeyObject | undefined {
  const raw = Buffer.from(keyval.public, 'base64')
  if (keytype !== 'ml-dsa' || !isScheme(scheme)) return undefined
  if (raw.length !== schemes[scheme].publicBytes) return undefined
  if (raw.toString('base64') !== keyval.public) return undefined
  const key = { kty: 'AKP', alg: schemes[scheme].alg, pub: raw.toString('base64url') }
  try {
    return createPublicKey({ key, format: 'jwk' })
  } catch {
    return undefined
  }
}

/** Signs canonical bytes with an ML-DSA role key. */
export function signPqBytes(signed: Buffer, key: KeyObject): PqSignature {
  const sig = sign(null, signed, { key, context })
  return { keyid: keyId(pqTufKeyOf(key)), sig: sig.toString('base64') }
}

/** Whether `sig` (base64) is this key's signature over `signed`. False for key kinds that are not known. */
export function verifyPqSignature(signed: Buffer, key: TufKey, sig: string): boolean {
  const publicKey = pqPublicKeyOf(key)
  return publicKey !== undefined && verifyWith(signed, publicKey, sig)
}

function verifyWith(signed: Buffer, key: KeyObject, sig: string): boolean {
  return verify(null, signed, { key, context }, Buffer.from(sig, 'base64'))
}

type PqKeys = Readonly<Record<string, TufKey>>

/** How many distinct ML-DSA keys of `role` signed; one key under two ids counts once. */
export function countPqSignatures(
  { signedBytes, pqSignatures }: Pick<Envelope, 'signedBytes' | 'pqSignatures'>,
  keys: PqKeys,
  role: Pick<RoleKeys, 'keyids'>,
): number {
  const signers = new Set<string>()
  for (const { keyid, sig } of pqSignatures) {
    if (!role.keyids.includes(keyid) || !Object.hasOwn(keys, keyid)) continue
    const tufKey = keys[keyid]
    const key = tufKey && pqPublicKeyOf(tufKey)
    if (key && verifyWith(signedBytes, key, sig)) signers.add(keyIdentity(key))
  }
  return signers.size
}

/** Who must sign a file: `role`, and `pq` besides when it is there. */
export interface Signers {
  keys: Readonly<Record<string, TufKey>>
  role: RoleKeys
  pq?: { keys: PqKeys; role: RoleKeys }
}

/** Both thresholds hold (updates.md 10). */
export function meetsSigners(envelope: Envelope, { keys, role, pq }: Signers): boolean {
  if (!meetsThreshold(envelope, keys, role)) return false
  if (!pq) return true
  const { threshold } = pq.role
  return threshold >= 1 && countPqSignatures(envelope, pq.keys, pq.role) >= threshold
}

export function isPqRequired(root: RootMetadata): boolean {
  return root['x-pq-required'] === true
}

/** Nobody can sign for a role whose keys are not named. */
const nobody: RoleKeys = { keyids: [], threshold: 1 }

function withPq(
  classical: Pick<Signers, 'keys' | 'role'>,
  pq: { keys: PqKeys | undefined; role: RoleKeys | undefined; required: boolean },
): Signers {
  if (!pq.role && !pq.required) return classical
  return { ...classical, pq: { keys: pq.keys ?? {}, role: pq.role ?? nobody } }
}

/** Who signs the root itself. */
export function rootSigners(root: RootMetadata): Signers {
  return withPq(
    { keys: root.keys, role: root.roles.root },
    { keys: root['x-pq-keys'], role: root['x-pq-roles']?.root, required: isPqRequired(root) },
  )
}

/** Who signs the targets of the image repository. The director's are online, and classical. */
export function targetsSigners(root: RootMetadata): Signers {
  return withPq(
    { keys: root.keys, role: root.roles.targets },
    { keys: root['x-pq-keys'], role: root['x-pq-roles']?.targets, required: isPqRequired(root) },
  )
}

/** Who signs a role that image `targets` delegates; `required` when the root says so (isPqRequired). */
export function delegationSigners(
  { 'x-pq-keys': pqKeys, delegations }: Pick<TargetsMetadata, 'x-pq-keys' | 'delegations'>,
  role: Delegation,
  required: boolean,
): Signers {
  return withPq(
    { keys: delegations?.keys ?? {}, role },
    { keys: pqKeys, role: role['x-pq'], required },
  )
}

/** What is wrong with the post-quantum half of a role before it is published; as for the other half, in words. */
export function pqFaults(
  name: string,
  { keys = {}, role }: { keys: PqKeys | undefined; role: RoleKeys | undefined },
  required: boolean,
): string[] {
  if (!role) return required ? [`${name} has no post-quantum keys, which the root requires`] : []
  const known = role.keyids.flatMap((keyid) => {
    const key = Object.hasOwn(keys, keyid) ? keys[keyid] : undefined
    const publicKey = key && pqPublicKeyOf(key)
    return publicKey ? [keyIdentity(publicKey)] : []
  })
  const distinct = new Set(known).size
  return [
    ...(known.length === role.keyids.length
      ? []
      : [`${name} has a post-quantum key that cannot be used`]),
    ...(distinct === known.length ? [] : [`${name} has one post-quantum key twice`]),
    ...(distinct < role.threshold ? [`${name} has too few post-quantum keys to be signed`] : []),
  ]
}
