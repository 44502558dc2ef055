import type { KeyObject } from 'node:crypto'
import { createDecipheriv } from 'node:crypto'

import { readAlgorithm } from '../algorithms.ts'
import { checkDer } from '../der/check.ts'
import { DerReader } from '../der/reader.ts'
import { constructed, primitive, tags } from '../der/tags.ts'
import { bitString, sequence } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import { readPublicKey, spkiOf } from '../keys.ts'
import type { CertificateId } from './certificate-id.ts'
import { isSameId, readIssuerAndSerial } from './certificate-id.ts'
import { cmsOids } from './cms-oids.ts'
import type { ContentCipher } from './enveloped-data-build.ts'
import { agreeOnKey, unwrapContentKey, wrapKeyBytes } from './key-wrap.ts'
import { openContentInfo } from './signed-data.ts'

/** What opens an envelope: a private EC key and how its certificate is called, or a shared key. */
export type EnvelopeKey =
  | { readonly kind: 'private-key'; readonly id: CertificateId; readonly key: KeyObject }
  | { readonly kind: 'shared-key'; readonly keyId: Buffer; readonly key: Buffer }

export interface OpenedEnvelope {
  readonly contentType: string
  readonly content: Buffer
}

const maxBytes = 1_114_112
const maxRecipients = 8
const recipientTags = { transport: tags.sequence, agreement: constructed(1), kek: constructed(2) }

/** Ciphers of content, by OID, with the octets of key and initialization vector. */
const contentCiphers: Readonly<Record<string, [ContentCipher, key: number, iv: number]>> = {
  [cmsOids.aes128Cbc]: ['aes-128-cbc', 16, 16],
  [cmsOids.aes256Cbc]: ['aes-256-cbc', 32, 16],
  [cmsOids.desEde3Cbc]: ['des-ede3-cbc', 24, 8],
}

/** The cipher of a ContentEncryptionAlgorithmIdentifier with its sizes; undefined when it is not on the list. */
export function contentCipherOf(
  type: string,
): { cipher: ContentCipher; keyBytes: number; ivBytes: number } | undefined {
  const known = Object.hasOwn(contentCiphers, type) ? contentCiphers[type] : undefined
  return known && { cipher: known[0], keyBytes: known[1], ivBytes: known[2] }
}

/**
 * Opens EnvelopedData for an EC key (RFC 5753) or a shared key (RFC 5652 §6.2.3). RSA envelopes, which come from strangers, are
 * `openRsaEnvelope`'s. The content is not authenticated: verify the SignedData in it.
 *
 * @param der ContentInfo, at most 1 MiB and something
 * @throws PkiError `der` for malformed DER, `cms` for everything else; a wrong key and changed bytes look the same
 */
export function openEnvelopedData(der: Buffer, key: EnvelopeKey): OpenedEnvelope {
  checkDer(der, { maxBytes, setOrder: 'report' })
  const body = openContentInfo(der, cmsOids.envelopedData, maxBytes)
  const version = body.smallInteger()
  if (version !== 2) throw new PkiError('cms', 'Version must be 2')
  const recipients = body.enter(tags.set)
  const info = body.enter(tags.sequence)
  body.finish()
  const contentKey = findContentKey(recipients, key)
  if (!contentKey) throw new PkiError('cms', 'The envelope is not for this key')

  const contentType = info.oid()
  const algorithm = info.enter(tags.sequence)
  const cipher = contentCipherOf(algorithm.oid())
  const iv = algorithm.content(tags.octetString)
  algorithm.finish()
  const encrypted = info.content(primitive(0))
  info.finish()
  // Triple DES is read from old RSA devices only.
  if (!cipher || cipher.cipher === 'des-ede3-cbc' || iv.length !== cipher.ivBytes) {
    throw new PkiError('cms', 'The content cipher is not allowed')
  }
  try {
    const decipher = createDecipheriv(cipher.cipher, contentKey, iv)
    const content = Buffer.concat([decipher.update(encrypted), decipher.final()])
    return { contentType, content }
  } catch (error) {
    throw new PkiError('cms', 'The envelope does not open', undefined, { cause: error })
  }
}

function findContentKey(recipients: DerReader, key: EnvelopeKey): Buffer | undefined {
  for (let count = 0; !recipients.isDone(); count += 1) {
    if (count >= maxRecipients) throw new PkiError('cms', 'Too many recipients', recipients.offset)
    const element = recipients.next()
    const info = recipients.inside(element)
    switch (element.tag) {
      case recipientTags.agreement: {
        const found = key.kind === 'private-key' ? readAgreement(info, key) : undefined
        if (found) return found
        break
      }
      case recipientTags.kek: {
        const found = key.kind === 'shared-key' ? readShared(info, key) : undefined
        if (found) return found
        break
      }
      case recipientTags.transport:
        break
      default:
        throw new PkiError('cms', 'Unknown kind of recipient', element.start)
    }
  }
  return undefined
}

function readAgreement(
  info: DerReader,
  { id, key }: EnvelopeKey & { kind: 'private-key' },
): Buffer | undefined {
  if (info.smallInteger() !== 3) throw new PkiError('cms', 'Version must be 3', info.offset)
  const originator = info.enter(constructed(0))
  const ephemeral = readOriginatorKey(originator, key)
  originator.finish()
  const ukmHolder = info.enterOptional(constructed(1))
  const ukm = ukmHolder?.content(tags.octetString)
  ukmHolder?.finish()
  const algorithm = info.enter(tags.sequence)
  const scheme = algorithm.oid()
  const wrap = readAlgorithm(algorithm)
  algorithm.finish()
  const keys = info.enter(tags.sequence)
  info.finish()
  if (scheme !== cmsOids.ecdhSha256Kdf || !wrapKeyBytes(wrap)) {
    throw new PkiError('cms', 'The key agreement is not allowed', info.offset)
  }
  while (!keys.isDone()) {
    const entry = keys.enter(tags.sequence)
    const isOurs = isSameId(readRecipientId(entry), id)
    const wrapped = entry.content(tags.octetString)
    entry.finish()
    if (isOurs) {
      const kek = agreeOnKey({ privateKey: key, publicKey: ephemeral }, wrap, ukm)
      return unwrapContentKey(wrapped, kek)
    }
  }
  return undefined
}

/** The originator's point, checked to lie on our curve before it meets our key. */
function readOriginatorKey(originator: DerReader, key: KeyObject): KeyObject {
  const body = originator.enter(constructed(1))
  const algorithm = body.enter(tags.sequence)
  if (algorithm.oid() !== cmsOids.ecPublicKey) {
    throw new PkiError('cms', 'The originator has no EC key', algorithm.offset)
  }
  const point = body.bitStringOctets()
  body.finish()
  // The curve may be left out of the message: it is the recipient's in any case.
  const ourAlgorithm = new DerReader(spkiOf(key)).enter(tags.sequence).raw(tags.sequence)
  return readPublicKey(sequence(ourAlgorithm, bitString(point))).key
}

function readRecipientId(entry: DerReader): CertificateId {
  const holder = entry.enterOptional(constructed(0))
  if (!holder) return { kind: 'issuer-and-serial', ...readIssuerAndSerial(entry) }
  const keyId = holder.content(tags.octetString)
  holder.finish()
  return { kind: 'key-id', keyId }
}

function readShared(
  info: DerReader,
  { keyId, key }: EnvelopeKey & { kind: 'shared-key' },
): Buffer | undefined {
  if (info.smallInteger() !== 4) throw new PkiError('cms', 'Version must be 4', info.offset)
  const id = info.enter(tags.sequence)
  const isOurs = id.content(tags.octetString).equals(keyId)
  id.finish()
  const wrap = readAlgorithm(info)
  const wrapped = info.content(tags.octetString)
  info.finish()
  if (!isOurs) return undefined
  if (wrapKeyBytes(wrap) !== key.length) {
    throw new PkiError('cms', 'The key wrap algorithm does not fit the key', info.offset)
  }
  return unwrapContentKey(wrapped, key)
}
