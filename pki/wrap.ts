import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'

import { PkiError } from './errors.ts'

const version = 1
const keyBytes = 32
const nonceBytes = 12
const tagBytes = 16
const headBytes = 1 + nonceBytes + tagBytes
const maxPlaintextBytes = 65_536

/**
 * Wraps a private key for storage: AES-256-GCM (NIST SP 800-38D), layout version(1) nonce(12) tag(16)
 * ciphertext. `context` names the row the blob belongs to and is authenticated, so that a blob
 * moved to another row does not open.
 *
 * @param kek 32 bytes
 * @throws PkiError `wrap`
 */
export function wrapKey(kek: Buffer, plaintext: Buffer, context: string): Buffer {
  checkKek(kek)
  if (plaintext.length > maxPlaintextBytes) throw new PkiError('wrap', 'The key is too long')
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', kek, nonce, { authTagLength: tagBytes })
  cipher.setAAD(additionalData(context))
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  return Buffer.concat([Buffer.from([version]), nonce, cipher.getAuthTag(), ciphertext])
}

/**
 * Opens what `wrapKey` made. Throws PkiError `wrap` for another key-encryption key, another context, an
 * unknown version or any changed byte, and does not say which.
 */
export function unwrapKey(kek: Buffer, wrapped: Buffer, context: string): Buffer {
  checkKek(kek)
  if (wrapped.length < headBytes || wrapped.length > headBytes + maxPlaintextBytes) {
    throw new PkiError('wrap', 'The wrapped key is malformed')
  }
  if (wrapped[0] !== version) throw new PkiError('wrap', 'Unknown version of a wrapped key')
  const nonce = wrapped.subarray(1, 1 + nonceBytes)
  const decipher = createDecipheriv('aes-256-gcm', kek, nonce, { authTagLength: tagBytes })
  decipher.setAAD(additionalData(context))
  decipher.setAuthTag(wrapped.subarray(1 + nonceBytes, headBytes))
  try {
    return Buffer.concat([decipher.update(wrapped.subarray(headBytes)), decipher.final()])
  } catch (error) {
    const message = 'The wrapped key does not open with this key-encryption key and context'
    throw new PkiError('wrap', message, undefined, { cause: error })
  }
}

function checkKek(kek: Buffer): void {
  if (kek.length !== keyBytes) {
    throw new PkiError('wrap', `The key-encryption key must have ${keyBytes} bytes`)
  }
}

function additionalData(context: string): Buffer {
  return Buffer.from(`fleetseal key wrap ${version}\0${context}`, 'utf8')
}
