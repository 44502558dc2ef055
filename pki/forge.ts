import type { KeyObject } from 'node:crypto'
import { constants, privateDecrypt, randomBytes } from 'node:crypto'

import forge from 'node-forge'

import type { CertificateId } from './cms/certificate-id.ts'
import { isSameId, readCertificateId } from './cms/certificate-id.ts'
import { cmsOids } from './cms/cms-oids.ts'
import type { ContentCipher } from './cms/enveloped-data-build.ts'
import { contentCipherOf } from './cms/enveloped-data.ts'
import { openContentInfo } from './cms/signed-data.ts'
import { checkDer } from './der/check.ts'
import { oids } from './der/oids.ts'
import { tags } from './der/tags.ts'
import { PkiError } from './errors.ts'
import { spkiOf } from './keys.ts'

/*
 * The only file that knows node-forge (pki.md section 2). It reads the RSA container and runs the content cipher; the RSA
 * operation is node:crypto's, seventy times as fast, and nothing here trusts what forge says about signatures.
 */

/** The RSA key that requests are encrypted to: in memory, or in a token. */
export interface RsaDecrypter {
  readonly id: CertificateId
  /**
   * RSAES-PKCS1-v1_5 decryption. For wrong padding it may throw or give garbage of any length; both are hidden by the
   * caller.
   */
  decrypt(encryptedKey: Buffer): Promise<Buffer>
}

export interface RsaEnvelope {
  readonly content: Buffer
  /** What the sender encrypted in, and so can read an answer in. */
  readonly cipher: ContentCipher
}

export interface RsaEnvelopeRules {
  readonly maxBytes?: number
  /** For lines of old devices only. */
  readonly allowTripleDes?: boolean
}

const defaultMaxBytes = 131_072
const maxRecipients = 8
/** A shorter one is a truncated message, not a cipher's output. */
const minContentBytes = 2

/** A decrypter over an RSA private key in memory. Throws PkiError `key` for another kind of key. */
export function softwareDecrypter(privateKey: KeyObject, id: CertificateId): RsaDecrypter {
  if (privateKey.asymmetricKeyType !== 'rsa') throw new PkiError('key', 'An RSA key is needed')
  spkiOf(privateKey)
  return {
    id,
    async decrypt(encryptedKey) {
      return privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_PADDING }, encryptedKey)
    },
  }
}

/**
 * Opens EnvelopedData that was encrypted to an RSA key with PKCS #1 v1.5 key transport (RFC 5652 §6.2.1, RFC 3370 §4.2.1).
 *
 * Everything that depends on the private key fails in one way (RFC 3218, test S3): wrong padding, a content key of wrong length and a
 * wrong content key all go on to decrypt the content, with a random key if need be, and end in the same error. A
 * cipher that is not allowed gives the same error too.
 *
 * @param der ContentInfo, at most 128 KiB unless said otherwise
 * @returns content that is one complete DER element; padding by chance is not enough
 * @throws PkiError `der` for a malformed message, `cms` for one that is not for this key or does not open
 */
export async function openRsaEnvelope(
  der: Buffer,
  recipient: RsaDecrypter,
  { maxBytes = defaultMaxBytes, allowTripleDes = false }: RsaEnvelopeRules = {},
): Promise<RsaEnvelope> {
  checkDer(der, { maxBytes, setOrder: 'report' })
  const index = indexOfRecipient(der, recipient.id, maxBytes)
  const message = readMessage(der)
  const transport = message.recipients[index]
  if (!transport || transport.encryptedContent.algorithm !== cmsOids.rsaEncryption) {
    throw new PkiError('cms', 'The key transport is not RSA PKCS #1 v1.5')
  }
  const { algorithm, parameter, content } = message.encryptedContent
  const known = contentCipherOf(algorithm)
  const isAllowed = known && (known.cipher !== 'des-ede3-cbc' || allowTripleDes)
  if (!isAllowed || parameter?.length() !== known.ivBytes || !content) throw doesNotOpen()

  const encryptedKey = Buffer.from(transport.encryptedContent.content, 'latin1')
  const key = await contentKey(recipient, encryptedKey, known.keyBytes)
  message.encryptedContent.key = forge.util.createBuffer(key.toString('latin1'))
  let opened: Buffer
  try {
    message.decrypt()
    opened = Buffer.from(message.content?.getBytes() ?? '', 'latin1')
    if (opened.length < minContentBytes) throw doesNotOpen()
    checkDer(opened, { maxBytes, setOrder: 'report' })
  } catch (error) {
    throw doesNotOpen(error)
  }
  return { content: opened, cipher: known.cipher }
}

/** The content key, or a random one in place of an answer that cannot be it. */
async function contentKey(
  recipient: RsaDecrypter,
  encryptedKey: Buffer,
  keyBytes: number,
): Promise<Buffer> {
  // Made in any case, so that the good and the bad way do the same work.
  const substitute = randomBytes(keyBytes)
  try {
    const key = await recipient.decrypt(encryptedKey)
    return key.length === keyBytes ? key : substitute
  } catch {
    return substitute
  }
}

function doesNotOpen(cause?: unknown): PkiError {
  return new PkiError('cms', 'The envelope does not open', undefined, { cause })
}

/** Which of the recipients we are. Read from the DER, because forge does not keep the bytes of a name. */
function indexOfRecipient(der: Buffer, id: CertificateId, maxBytes: number): number {
  const body = openContentInfo(der, cmsOids.envelopedData, maxBytes)
  if (body.smallInteger() !== 0) throw new PkiError('cms', 'Version must be 0', body.offset)
  const recipients = body.enter(tags.set)
  const info = body.enter(tags.sequence)
  body.finish()
  if (info.oid() !== oids.data) throw new PkiError('cms', 'The content must be id-data')
  for (let index = 0; !recipients.isDone(); index += 1) {
    if (index >= maxRecipients) throw new PkiError('cms', 'Too many recipients', recipients.offset)
    const entry = recipients.enter(tags.sequence)
    entry.smallInteger()
    if (isSameId(readCertificateId(entry), id)) return index
  }
  throw new PkiError('cms', 'The envelope is not for this key')
}

/** The parts of forge's message that are used; its published types leave most of them out. */
interface ForgeEnvelope {
  recipients: { encryptedContent: { algorithm: string; content: string } }[]
  encryptedContent: {
    algorithm: string
    parameter?: forge.util.ByteStringBuffer
    content?: forge.util.ByteStringBuffer
    key?: forge.util.ByteStringBuffer
  }
  content?: forge.util.ByteStringBuffer
  decrypt(): void
}

/** Its published type knows only a flag; bit strings are not to be searched for DER inside. */
const fromDer = forge.asn1.fromDer as unknown as (
  bytes: forge.util.ByteStringBuffer,
  options: { strict: boolean; parseAllBytes: boolean; decodeBitStrings: boolean },
) => forge.asn1.Asn1

function readMessage(der: Buffer): ForgeEnvelope {
  try {
    const options = { strict: true, parseAllBytes: true, decodeBitStrings: false }
    const tree = fromDer(forge.util.createBuffer(der.toString('latin1')), options)
    return forge.pkcs7.messageFromAsn1(tree) as unknown as ForgeEnvelope
  } catch (error) {
    throw new PkiError('cms', 'The message is no EnvelopedData', undefined, { cause: error })
  }
}
