import { createCipheriv, randomBytes, scryptSync } from 'node:crypto'

import { MetadataError } from './errors.ts'

/*
 * Node's own export encrypts with PBKDF2 at 2,048 rounds, which a stolen key file does not survive for long.
 * This writes the same container with scrypt; OpenSSL, and so Node, reads it back.
 */
const costs = {
  /** A person thought of it: every guess must cost. */
  typed: { N: 16_384, r: 8, p: 5 },
  /** At least 16 random bytes: guessing is hopeless already. */
  random: { N: 2048, r: 8, p: 1 },
}
export type PassphraseOrigin = keyof typeof costs

const oid = {
  pbes2: '06092a864886f70d01050d',
  scrypt: '06092b06010401da47040b',
  aes256cbc: '060960864801650304012a',
}

/** EncryptedPrivateKeyInfo (RFC 5958 section 3) as PEM: PBES2, scrypt (RFC 7914 section 7), AES-256-CBC. */
export function encryptPkcs8(pkcs8: Buffer, passphrase: string, origin: PassphraseOrigin): string {
  const cost = costs[origin]
  if (passphrase.length < 8)
    throw new MetadataError('key', 'A passphrase has at least 8 characters')
  const salt = randomBytes(16)
  const iv = randomBytes(16)
  const cipher = createCipheriv('aes-256-cbc', scryptSync(passphrase, salt, 32, cost), iv)
  const encrypted = Buffer.concat([cipher.update(pkcs8), cipher.final()])
  const kdf = sequence(
    hex(oid.scrypt),
    sequence(octets(salt), integer(cost.N), integer(cost.r), integer(cost.p)),
  )
  const scheme = sequence(hex(oid.aes256cbc), octets(iv))
  const der = sequence(sequence(hex(oid.pbes2), sequence(kdf, scheme)), octets(encrypted))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  const label = 'ENCRYPTED PRIVATE KEY'
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex')
}

function element(tag: number, content: Buffer): Buffer {
  const { length } = content
  const long = length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...(length < 128 ? [length] : long)]), content])
}

function sequence(...parts: Buffer[]): Buffer {
  return element(0x30, Buffer.concat(parts))
}

function octets(bytes: Buffer): Buffer {
  return element(0x04, bytes)
}

function integer(value: number): Buffer {
  const digits = value.toString(16)
  const bytes = hex(digits.padStart(digits.length + (digits.length % 2), '0'))
  return element(0x02, (bytes[0] ?? 0) < 0x80 ? bytes : Buffer.concat([Buffer.alloc(1), bytes]))
}
