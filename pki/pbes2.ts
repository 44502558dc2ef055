import { createCipheriv, pbkdf2, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'

import type { DerReader } from './der/reader.ts'
import { tags } from './der/tags.ts'
import { integer, nullValue, octetString, oid, sequence } from './der/writer.ts'
import { PkiError } from './errors.ts'

const pbes2Oids = {
  pbes2: '1.2.840.113549.1.5.13',
  pbkdf2: '1.2.840.113549.1.5.12',
  scrypt: '1.3.6.1.4.1.11591.4.11',
  hmacWithSha1: '1.2.840.113549.2.7',
  hmacWithSha256: '1.2.840.113549.2.9',
  hmacWithSha384: '1.2.840.113549.2.10',
  hmacWithSha512: '1.2.840.113549.2.11',
  aes128Cbc: '2.16.840.1.101.3.4.1.2',
  aes192Cbc: '2.16.840.1.101.3.4.1.22',
  aes256Cbc: '2.16.840.1.101.3.4.1.42',
} as const

const iterations = 100_000
const saltBytes = 16
const ivBytes = 16
const keyBytes = 32

const prfs: readonly string[] = [
  pbes2Oids.hmacWithSha1,
  pbes2Oids.hmacWithSha256,
  pbes2Oids.hmacWithSha384,
  pbes2Oids.hmacWithSha512,
]
const ciphers: readonly string[] = [pbes2Oids.aes128Cbc, pbes2Oids.aes192Cbc, pbes2Oids.aes256Cbc]
/** A second of work at the most. */
const maxIterations = 2_000_000
const maxScryptBytes = 134_217_728
const maxScryptWork = 4_194_304
const maxSaltBytes = 64

const derive = promisify(pbkdf2)

/**
 * Encrypts with PBES2 (RFC 8018 §6.2): PBKDF2 with HMAC-SHA-256 and 100,000 rounds, AES-256-CBC.
 *
 * @returns the AlgorithmIdentifier, DER, and the ciphertext
 */
export async function encryptWithPassphrase(
  plaintext: Buffer,
  passphrase: string,
): Promise<{ algorithm: Buffer; encrypted: Buffer }> {
  const salt = randomBytes(saltBytes)
  const iv = randomBytes(ivBytes)
  const key = await derive(Buffer.from(passphrase, 'utf8'), salt, iterations, keyBytes, 'sha256')
  const cipher = createCipheriv('aes-256-cbc', key, iv)
  const encrypted = Buffer.concat([cipher.update(plaintext), cipher.final()])
  const prf = sequence(oid(pbes2Oids.hmacWithSha256), nullValue())
  const kdf = sequence(oid(pbes2Oids.pbkdf2), sequence(octetString(salt), integer(iterations), prf))
  const scheme = sequence(oid(pbes2Oids.aes256Cbc), octetString(iv))
  return { algorithm: sequence(oid(pbes2Oids.pbes2), sequence(kdf, scheme)), encrypted }
}

/**
 * Reads a PBES2 AlgorithmIdentifier and refuses one that is not, or whose key derivation would cost more than we are
 * willing to spend on a stranger's file. Throws PkiError `der` or `key`.
 */
export function checkPbes2(reader: DerReader): void {
  const identifier = reader.enter(tags.sequence)
  if (identifier.oid() !== pbes2Oids.pbes2) {
    throw new PkiError('key', 'Only PBES2 encryption is read', identifier.offset)
  }
  const parameters = identifier.enter(tags.sequence)
  identifier.finish()
  const kdf = parameters.enter(tags.sequence)
  checkDerivation(kdf.oid(), kdf.enter(tags.sequence))
  kdf.finish()
  const scheme = parameters.enter(tags.sequence)
  parameters.finish()
  const cipher = scheme.oid()
  const iv = scheme.content(tags.octetString)
  scheme.finish()
  if (!ciphers.includes(cipher) || iv.length !== ivBytes) {
    throw new PkiError('key', 'The cipher is not allowed', scheme.offset)
  }
}

function checkDerivation(type: string, parameters: DerReader): void {
  const { offset } = parameters
  const salt = parameters.content(tags.octetString)
  if (salt.length > maxSaltBytes) throw new PkiError('key', 'The salt is too long', offset)
  switch (type) {
    case pbes2Oids.pbkdf2: {
      const rounds = parameters.smallInteger()
      if (rounds < 1 || rounds > maxIterations) {
        throw new PkiError('key', 'The number of rounds is not allowed', offset)
      }
      if (parameters.peek() === tags.integer) parameters.smallInteger()
      const prf = parameters.enterOptional(tags.sequence)
      if (prf && !prfs.includes(prf.oid())) throw new PkiError('key', 'Unknown PRF', offset)
      break
    }
    case pbes2Oids.scrypt: {
      const cost = parameters.smallInteger()
      const blocks = parameters.smallInteger()
      const parallel = parameters.smallInteger()
      if (parameters.peek() === tags.integer) parameters.smallInteger()
      const isCheap =
        128 * cost * blocks <= maxScryptBytes && cost * blocks * parallel <= maxScryptWork
      if (!isCheap) throw new PkiError('key', 'The cost of scrypt is not allowed', offset)
      break
    }
    default:
      throw new PkiError('key', 'Unknown key derivation', offset)
  }
  parameters.finish()
}
