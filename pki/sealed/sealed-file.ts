import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  randomBytes,
  scryptSync,
} from 'node:crypto'

/**
 * A sealed file: a line that names the format, a line of JSON that says for whom, then chunks of AES-256-GCM. Every chunk's nonce is its number and
 * whether it is the last one, and all of them are bound to the first two lines: nothing can be changed, left out, put in, moved or cut off
 * (STREAM, Hoang et al. 2015, as in age).
 */
export const magic = 'fleetseal-sealed 1'
/** Bytes of text in a chunk; the last one may have fewer. */
export const chunkBytes = 64 * 1024
export const tagBytes = 16
const maxHeaderBytes = 2_048
const scryptCost = { N: 2 ** 15, r: 8, p: 1, maxmem: 128 * 1024 * 1024 }

export class SealedFileError extends Error {
  override readonly name = 'SealedFileError'
}

/** What opens a file: a passphrase, or the private half of a recipient's key. What seals it: a passphrase, or the public half. */
export type SealingKey = { passphrase: string } | { recipient: string }
export type OpeningKey = { passphrase: string } | { secret: string }

const recipientPrefix = 'fleetseal-recipient-1:'
const secretPrefix = 'fleetseal-secret-1:'

/** A new pair of X25519 keys, as text: the first seals and may be known to all, the second opens. */
export function newRecipient(): { recipient: string; secret: string } {
  const { publicKey, privateKey } = generateKeyPairSync('x25519')
  return {
    recipient: recipientPrefix + raw(publicKey.export({ format: 'jwk' }).x),
    secret: secretPrefix + raw(privateKey.export({ format: 'jwk' }).d),
  }
}

/**
 * What a key file holds, by its first word: a recipient, a secret, or else a passphrase.
 *
 * @throws SealedFileError for a passphrase of less than 16 characters
 */
export function readKeyText(
  text: string,
): { passphrase: string } | { recipient: string } | { secret: string } {
  const word = text.trim()
  if (word.startsWith(recipientPrefix)) return { recipient: word }
  if (word.startsWith(secretPrefix)) return { secret: word }
  if (word.length >= 16 && word.length <= 1_024) return { passphrase: word }
  throw new SealedFileError('A passphrase of a sealed file has 16 to 1024 characters')
}

interface Header {
  kind: 'scrypt' | 'x25519'
  /** Base64url: salt of scrypt, or the sender's public key. */
  with: string
}

/** Seals what it is given, in order. */
export class Sealer {
  /** To be written first. */
  readonly head: Buffer
  readonly #key: Buffer
  #no = 0

  constructor(key: SealingKey) {
    const { header, shared } = agree(key)
    this.head = Buffer.from(`${magic}\n${JSON.stringify(header)}\n`)
    this.#key = fileKey(shared, this.head)
  }

  /** One chunk of `chunkBytes`, or, when it is the last one, of at most so many. */
  seal(text: Buffer, isLast: boolean): Buffer {
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonceOf(this.#no++, isLast))
    return Buffer.concat([cipher.update(text), cipher.final(), cipher.getAuthTag()])
  }
}

/** Opens the chunks of a file whose beginning is `bytes`. */
export class Opener {
  /** Where the chunks begin. */
  readonly headBytes: number
  readonly #key: Buffer
  #no = 0

  /** @throws SealedFileError when it is no such file, or the key is another kind's */
  constructor(bytes: Buffer, key: OpeningKey) {
    const head = headOf(bytes)
    this.headBytes = head.length
    const [, line = ''] = head.toString().split('\n')
    this.#key = fileKey(open(parseHeader(line), key), head)
  }

  /** @throws SealedFileError when the key is wrong or a byte was changed */
  open(sealed: Buffer, isLast: boolean): Buffer {
    if (sealed.length < tagBytes) throw new SealedFileError('The file is cut off')
    const decipher = createDecipheriv('aes-256-gcm', this.#key, nonceOf(this.#no, isLast))
    decipher.setAuthTag(sealed.subarray(-tagBytes))
    try {
      const text = Buffer.concat([decipher.update(sealed.subarray(0, -tagBytes)), decipher.final()])
      this.#no += 1
      return text
    } catch {
      throw new SealedFileError(
        this.#no === 0
          ? 'The key does not open this file, or the file was changed'
          : `The file was changed or cut off, after ${this.#no * chunkBytes} bytes`,
      )
    }
  }
}

function agree(key: SealingKey): { header: Header; shared: Buffer } {
  if ('passphrase' in key) {
    const salt = randomBytes(16)
    const header: Header = { kind: 'scrypt', with: salt.toString('base64url') }
    return { header, shared: scryptSync(key.passphrase, salt, 32, scryptCost) }
  }
  const { publicKey, privateKey } = generateKeyPairSync('x25519')
  const ours = raw(publicKey.export({ format: 'jwk' }).x)
  const theirs = publicOf(key.recipient.slice(recipientPrefix.length))
  return {
    header: { kind: 'x25519', with: ours },
    shared: diffieHellman({ privateKey, publicKey: theirs }),
  }
}

function open(header: Header, key: OpeningKey): Buffer {
  if (header.kind === 'scrypt') {
    if (!('passphrase' in key)) throw new SealedFileError('This file is opened by a passphrase')
    return scryptSync(key.passphrase, Buffer.from(header.with, 'base64url'), 32, scryptCost)
  }
  if (!('secret' in key))
    throw new SealedFileError("This file is opened by its recipient's secret key")
  return diffieHellman({
    privateKey: privateOf(key.secret.slice(secretPrefix.length)),
    publicKey: publicOf(header.with),
  })
}

function fileKey(shared: Buffer, head: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', shared, head, 'fleetseal sealed file', 32))
}

function nonceOf(no: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeUIntBE(no, 5, 6)
  nonce[11] = isLast ? 1 : 0
  return nonce
}

function headOf(bytes: Buffer): Buffer {
  const first = bytes.indexOf(10)
  const second = bytes.indexOf(10, first + 1)
  const isOurs = first > 0 && bytes.subarray(0, first).toString() === magic
  if (isOurs && second > 0 && second < maxHeaderBytes) return bytes.subarray(0, second + 1)
  throw new SealedFileError(`This is no sealed file (it does not begin with "${magic}")`)
}

function parseHeader(line: string): Header {
  const found = /^\{"kind":"(scrypt|x25519)","with":"([A-Za-z0-9_-]{22,43})"\}$/.exec(line)
  if (!found) throw new SealedFileError('The head of the sealed file is damaged')
  return { kind: found[1] === 'scrypt' ? 'scrypt' : 'x25519', with: found[2] ?? '' }
}

function publicOf(x: string) {
  try {
    return createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' })
  } catch {
    throw new SealedFileError("The recipient's key is damaged")
  }
}

/** The public half is not checked by Node, and not used. */
function privateOf(d: string) {
  try {
    return createPrivateKey({ key: { kty: 'OKP', crv: 'X25519', d, x: d }, format: 'jwk' })
  } catch {
    throw new SealedFileError('The secret key is damaged')
  }
}

function raw(text: string | undefined): string {
  return text ?? ''
}
