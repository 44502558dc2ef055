import type { KeyObject } from 'node:crypto'
import { createCipheriv, createDecipheriv, createHash, diffieHellman } from 'node:crypto'

import { contextConstructed, octetString, oid, sequence } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import { cmsOids } from './cms-oids.ts'

/** RFC 3394 §2.2.3.1. */
const wrapIv = Buffer.from('a6a6a6a6a6a6a6a6', 'hex')

/** KeyWrapAlgorithm with a key of 32 octets; parameters absent (RFC 3565 §2.3.2). */
export const aes256Wrap = sequence(oid(cmsOids.aes256Wrap))
const aes128Wrap = sequence(oid(cmsOids.aes128Wrap))

/** Octets of the key of a KeyWrapAlgorithm, or undefined when it is not one we know. */
export function wrapKeyBytes(identifier: Buffer): 16 | 32 | undefined {
  if (identifier.equals(aes256Wrap)) return 32
  return identifier.equals(aes128Wrap) ? 16 : undefined
}

/** AES key wrap (RFC 3394) under a key of 16 or 32 octets. */
export function wrapContentKey(key: Buffer, kek: Buffer): Buffer {
  const cipher = createCipheriv(cipherFor(kek), kek, wrapIv)
  return Buffer.concat([cipher.update(key), cipher.final()])
}

/** Opens what `wrapContentKey` made. Throws PkiError `cms` for another key or any changed bit. */
export function unwrapContentKey(wrapped: Buffer, kek: Buffer): Buffer {
  try {
    const decipher = createDecipheriv(cipherFor(kek), kek, wrapIv)
    return Buffer.concat([decipher.update(wrapped), decipher.final()])
  } catch (error) {
    throw new PkiError('cms', 'The envelope does not open', undefined, { cause: error })
  }
}

/**
 * The key-encryption key two parties agree on: ECDH, then the key derivation of ANSI X9.63 with SHA-256 over
 * ECC-CMS-SharedInfo (RFC 5753 §7.2). One block of SHA-256 is always enough.
 *
 * @param wrap KeyWrapAlgorithm, DER: AES-128 or AES-256 key wrap
 * @param ukm user keying material of the message
 */
export function agreeOnKey(
  keys: { privateKey: KeyObject; publicKey: KeyObject },
  wrap: Buffer,
  ukm?: Buffer,
): Buffer {
  const bytes = wrapKeyBytes(wrap)
  if (!bytes) throw new PkiError('cms', 'The key wrap algorithm is not allowed')
  const bits = Buffer.alloc(4)
  bits.writeUInt32BE(bytes * 8)
  const sharedInfo = sequence(
    wrap,
    ukm ? contextConstructed(0, octetString(ukm)) : Buffer.alloc(0),
    contextConstructed(2, octetString(bits)),
  )
  const counter = Buffer.from([0, 0, 0, 1])
  const secret = diffieHellman(keys)
  const derived = createHash('sha256').update(secret).update(counter).update(sharedInfo).digest()
  return derived.subarray(0, bytes)
}

function cipherFor(kek: Buffer): string {
  if (kek.length !== 16 && kek.length !== 32) {
    throw new PkiError('cms', 'A key-encryption key has 16 or 32 bytes')
  }
  return `id-aes${kek.length * 8}-wrap`
}
