import type { KeyObject } from 'node:crypto'
import { createPrivateKey } from 'node:crypto'

import { checkDer } from './der/check.ts'
import { DerReader } from './der/reader.ts'
import { tags } from './der/tags.ts'
import { octetString, sequence } from './der/writer.ts'
import { PkiError } from './errors.ts'
import { readPublicKey, spkiOf } from './keys.ts'
import { checkPbes2, encryptWithPassphrase } from './pbes2.ts'

const maxPassphraseCharacters = 1024

/**
 * EncryptedPrivateKeyInfo (RFC 5958 §3) of a key: PBES2 with PBKDF2-SHA-256, 100,000 rounds, AES-256-CBC. Node's own export
 * has 2,048 rounds.
 *
 * @returns DER
 */
export async function encryptPrivateKey(key: KeyObject, passphrase: string): Promise<Buffer> {
  if (key.type !== 'private') throw new PkiError('key', 'A private key is needed')
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' })
  const { algorithm, encrypted } = await encryptWithPassphrase(pkcs8, passphrase)
  return sequence(algorithm, octetString(encrypted))
}

/**
 * Imports an encrypted PKCS #8 key (test K5): PBES2 with PBKDF2 or scrypt and AES-CBC, at a bounded cost, holding a key that
 * `readPublicKey` allows. OpenSSL sees it only after that was checked.
 *
 * @param der EncryptedPrivateKeyInfo, at most 64 KiB
 * @throws PkiError `der`, or `key`; a wrong passphrase and a damaged file look the same
 */
export function readEncryptedPrivateKey(der: Buffer, passphrase: string): KeyObject {
  if (passphrase.length > maxPassphraseCharacters) {
    throw new PkiError('key', 'The passphrase is too long')
  }
  checkDer(der)
  const reader = new DerReader(der)
  const body = reader.enter(tags.sequence)
  reader.finish()
  checkPbes2(body)
  body.content(tags.octetString)
  body.finish()
  const key = importKey(der, passphrase)
  readPublicKey(spkiOf(key))
  return key
}

function importKey(der: Buffer, passphrase: string): KeyObject {
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8', passphrase })
  } catch {
    // Without the cause: OpenSSL's words tell a wrong passphrase from a wrong key.
    throw new PkiError('key', 'The key does not open with this passphrase')
  }
}
