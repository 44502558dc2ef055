import {
  constants,
  createCipheriv,
  generateKeyPairSync,
  publicEncrypt,
  randomBytes,
} from 'node:crypto'

import { oids } from '../der/oids.ts'
import { tags } from '../der/tags.ts'
import {
  bitString,
  contextConstructed,
  contextPrimitive,
  integer,
  nullValue,
  octetString,
  oid,
  sequence,
  setOf,
  tlv,
} from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import type { PublicKey } from '../keys.ts'
import { publicKeyOctets, readPublicKey, spkiOf } from '../keys.ts'
import type { CertificateId } from './certificate-id.ts'
import { encodeCertificateId } from './certificate-id.ts'
import { cmsOids } from './cms-oids.ts'
import { aes256Wrap, agreeOnKey, wrapContentKey } from './key-wrap.ts'

/** Who can open an envelope: the holder of a certified RSA or EC key, or of a key both sides know. */
export type Recipient =
  | {
      readonly kind: 'certificate'
      readonly id: CertificateId
      /** SubjectPublicKeyInfo, DER: RSA, P-256 or P-384. */
      readonly spki: Buffer
    }
  | {
      readonly kind: 'shared-key'
      readonly keyId: Buffer
      /** AES key, 16 or 32 octets. */
      readonly key: Buffer
    }

export type ContentCipher = 'aes-128-cbc' | 'aes-256-cbc' | 'des-ede3-cbc'

export interface EnvelopeOptions {
  /** Of the content. Default id-data. */
  readonly contentType?: string
  /** Default AES-256-CBC. Triple DES is only for answering an old device in what it asked in. */
  readonly cipher?: ContentCipher
}

const cipherOids: Readonly<Record<ContentCipher, string>> = {
  'aes-128-cbc': cmsOids.aes128Cbc,
  'aes-256-cbc': cmsOids.aes256Cbc,
  'des-ede3-cbc': cmsOids.desEde3Cbc,
}
const keyBytesOf: Readonly<Record<ContentCipher, number>> = {
  'aes-128-cbc': 16,
  'aes-256-cbc': 32,
  'des-ede3-cbc': 24,
}
const ivBytesOf: Readonly<Record<ContentCipher, number>> = {
  'aes-128-cbc': 16,
  'aes-256-cbc': 16,
  'des-ede3-cbc': 8,
}
const curveOf = { 'P-256': 'P-256', 'P-384': 'P-384' } as const
const maxContentBytes = 1_048_576

/**
 * EnvelopedData for one recipient (RFC 5652 §6): RSA PKCS #1 v1.5 key transport (RFC 3370 §4.2.1), ephemeral-static ECDH with
 * AES-256 key wrap (RFC 5753 §3.1), or AES key wrap under a shared key (RFC 3370 §4.3). The content is encrypted, not
 * authenticated: put a SignedData inside or outside.
 *
 * node-forge is not used to write: it encodes the content in BER and knows no content type but id-data.
 *
 * @returns ContentInfo, DER
 * @throws PkiError `key` for a recipient's key that is refused or cannot encrypt, `cms` for content above 1 MiB
 */
export function buildEnvelopedData(
  content: Buffer,
  recipient: Recipient,
  { contentType = oids.data, cipher = 'aes-256-cbc' }: EnvelopeOptions = {},
): Buffer {
  if (content.length > maxContentBytes) throw new PkiError('cms', 'The content is too long')
  const key = randomBytes(keyBytesOf[cipher])
  const iv = randomBytes(ivBytesOf[cipher])
  const encryption = createCipheriv(cipher, key, iv)
  const encrypted = Buffer.concat([encryption.update(content), encryption.final()])
  const { version, info } = encodeRecipient(recipient, key)
  const body = sequence(
    integer(version),
    setOf(info),
    sequence(
      oid(contentType),
      sequence(oid(cipherOids[cipher]), octetString(iv)),
      contextPrimitive(0, encrypted),
    ),
  )
  return sequence(oid(cmsOids.envelopedData), contextConstructed(0, body))
}

/** RFC 5652 §6.1: version 0 only for key transport by issuer and serial. */
function encodeRecipient(recipient: Recipient, key: Buffer): { version: number; info: Buffer } {
  switch (recipient.kind) {
    case 'certificate': {
      const publicKey = readPublicKey(recipient.spki)
      if (publicKey.family === 'RSA') {
        const version = recipient.id.kind === 'issuer-and-serial' ? 0 : 2
        return { version, info: keyTransport(recipient.id, version, publicKey, key) }
      }
      return { version: 2, info: keyAgreement(recipient.id, publicKey, key) }
    }
    case 'shared-key': {
      const { keyId, key: kek } = recipient
      const wrapAlgorithm = kek.length === 16 ? sequence(oid(cmsOids.aes128Wrap)) : aes256Wrap
      const wrapped = octetString(wrapContentKey(key, kek))
      const kekId = sequence(octetString(keyId))
      return { version: 2, info: contextConstructed(2, integer(4), kekId, wrapAlgorithm, wrapped) }
    }
    default:
      throw new PkiError('cms', 'Unknown kind of recipient')
  }
}

/** KeyTransRecipientInfo, RFC 5652 §6.2.1. */
function keyTransport(
  id: CertificateId,
  version: number,
  publicKey: PublicKey,
  contentKey: Buffer,
): Buffer {
  const padding = constants.RSA_PKCS1_PADDING
  const encrypted = publicEncrypt({ key: publicKey.key, padding }, contentKey)
  return sequence(
    integer(version),
    encodeCertificateId(id),
    sequence(oid(cmsOids.rsaEncryption), nullValue()),
    octetString(encrypted),
  )
}

/** KeyAgreeRecipientInfo with a new key of the originator, RFC 5652 §6.2.2 and RFC 5753 §3.1.1. */
function keyAgreement(id: CertificateId, publicKey: PublicKey, contentKey: Buffer): Buffer {
  const { family } = publicKey
  if (family !== 'P-256' && family !== 'P-384') {
    throw new PkiError('key', `A ${family} key cannot encrypt`)
  }
  const ephemeral = generateKeyPairSync('ec', { namedCurve: curveOf[family] })
  const keys = { privateKey: ephemeral.privateKey, publicKey: publicKey.key }
  const kek = agreeOnKey(keys, aes256Wrap)
  const point = publicKeyOctets(spkiOf(ephemeral.publicKey))
  const originator = contextConstructed(1, sequence(oid(cmsOids.ecPublicKey)), bitString(point))
  // RecipientKeyIdentifier is a SEQUENCE, unlike the SignerIdentifier of the same name.
  const recipientId =
    id.kind === 'key-id' ? contextConstructed(0, octetString(id.keyId)) : encodeCertificateId(id)
  return contextConstructed(
    1,
    integer(3),
    contextConstructed(0, originator),
    sequence(oid(cmsOids.ecdhSha256Kdf), aes256Wrap),
    tlv(tags.sequence, sequence(recipientId, octetString(wrapContentKey(contentKey, kek)))),
  )
}
