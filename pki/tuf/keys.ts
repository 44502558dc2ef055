import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto'

import { canonicalize } from './canonical.ts'
import { encryptPkcs8, type PassphraseOrigin } from './encrypted-key.ts'
import { MetadataError } from './errors.ts'

/** A public key as metadata carries it. `public` is raw hex for Ed25519. */
export interface TufKey {
  keytype: string
  scheme: string
  keyval: { public: string }
}

/** Hex SHA-256 of the canonical key object (TUF 1.0.34 section 4.2, updates.md 2.1). */
export function keyId(key: TufKey): string {
  return createHash('sha256').update(canonicalize(key)).digest('hex')
}

/** A new Ed25519 private key. */
export function generateRoleKey(): KeyObject {
  return generateKeyPairSync('ed25519').privateKey
}

/** The public half of an Ed25519 key (private or public). Throws MetadataError for other kinds. */
export function tufKeyOf(key: KeyObject): TufKey {
  if (key.asymmetricKeyType !== 'ed25519') {
    throw new MetadataError('key', 'Role keys are Ed25519')
  }
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  return { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: raw.toString('hex') } }
}

// DER of SubjectPublicKeyInfo up to the raw key: RFC 8410 section 4, and RFC 5480 section 2 for P-256.
const ed25519Prefix = '302a300506032b6570032100'
const p256Prefix = '3059301306072a8648ce3d020106082a8648ce3d030107034200'

/**
 * The key to verify with: Ed25519 (hex), P-256 (hex point or PEM), RSA-PSS (PEM).
 * Undefined for a kind this verifier does not know, or a damaged one: such a key never counts.
 */
export function publicKeyOf({ keytype, scheme, keyval }: TufKey): KeyObject | undefined {
  const text = keyval.public
  try {
    switch (`${keytype} ${scheme}`) {
      case 'ed25519 ed25519':
        return /^[0-9a-f]{64}$/.test(text) ? spki(ed25519Prefix + text) : undefined
      case 'ecdsa ecdsa-sha2-nistp256':
      case 'ecdsa-sha2-nistp256 ecdsa-sha2-nistp256':
        return /^04[0-9a-f]{128}$/.test(text) ? spki(p256Prefix + text) : pem(text, 'ec')
      case 'rsa rsassa-pss-sha256':
        return pem(text, 'rsa')
      default:
        return undefined
    }
  } catch {
    return undefined
  }
}

function spki(hex: string): KeyObject {
  return createPublicKey({ key: Buffer.from(hex, 'hex'), format: 'der', type: 'spki' })
}

function pem(text: string, kind: 'ec' | 'rsa'): KeyObject | undefined {
  if (!text.startsWith('-----BEGIN PUBLIC KEY-----')) return undefined
  const key = createPublicKey(text)
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {}
  if (key.asymmetricKeyType !== kind) return undefined
  return modulusLength >= 2048 || namedCurve === 'prime256v1' ? key : undefined
}

/** Names the key itself, however it is written or called: thresholds count these (updates.md 2.1). */
export function keyIdentity(key: KeyObject): string {
  return key.export({ format: 'der', type: 'spki' }).toString('hex')
}

/** PKCS#8 PEM under a passphrase (PBES2 with scrypt, RFC 8018 and RFC 7914); `openssl pkey` opens it. */
export function exportEncrypted(
  key: KeyObject,
  passphrase: string,
  origin: PassphraseOrigin = 'typed',
): string {
  return encryptPkcs8(key.export({ format: 'der', type: 'pkcs8' }), passphrase, origin)
}

/** The private key of such a file. Throws MetadataError, fault `key`, for a wrong passphrase or an unencrypted file. */
export function importEncrypted(text: string, passphrase: string): KeyObject {
  if (text.length > 16_384 || !text.includes('-----BEGIN ENCRYPTED PRIVATE KEY-----')) {
    throw new MetadataError('key', 'Not an encrypted private key file')
  }
  let key: KeyObject
  try {
    key = createPrivateKey({ key: text, format: 'pem', passphrase })
  } catch (cause) {
    throw new MetadataError('key', 'The passphrase does not open this key', { cause })
  }
  if (/^(?:ed25519|ml-dsa-(?:44|65|87))$/.test(key.asymmetricKeyType ?? '')) return key
  throw new MetadataError('key', 'Role keys are Ed25519 or ML-DSA')
}
