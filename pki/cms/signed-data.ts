import { createHash } from 'node:crypto'

import { readAlgorithm } from '../algorithms.ts'
import { checkDer } from '../der/check.ts'
import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { constructed, tags } from '../der/tags.ts'
import { setOf } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import { readPublicKey } from '../keys.ts'
import type { CertificateHead, CertificateId } from './certificate-id.ts'
import { readCertificateHead, readCertificateId } from './certificate-id.ts'
import type { Digest } from './cms-algorithms.ts'
import { digestOf, verifySignerSignature } from './cms-algorithms.ts'
import { cmsOids } from './cms-oids.ts'

/** Values of each attribute by type; each value is DER. */
export type CmsAttributes = ReadonlyMap<string, readonly Buffer[]>

/** SignedData whose one signature was verified. Every Buffer is a slice of the DER. */
export interface VerifiedData {
  readonly contentType: string
  /** Undefined when the message carries no content. */
  readonly content: Buffer | undefined
  readonly signerId: CertificateId
  /** SubjectPublicKeyInfo that verified, DER. Nobody vouched for it here. */
  readonly signerSpki: Buffer
  /** The signer's certificate when the message carries it. Nobody vouched for it here. */
  readonly signerCertificate: Buffer | undefined
  readonly digest: Digest
  readonly attributes: CmsAttributes
  readonly certificates: readonly Buffer[]
  readonly crls: readonly Buffer[]
}

export interface VerifyOptions {
  readonly maxBytes?: number
  /** Content of a detached signature. */
  readonly detached?: Buffer
  /** RSA with SHA-1, for lines of old devices only. */
  readonly allowSha1?: boolean
  /** SubjectPublicKeyInfo of the signer; without it the key of the signer's certificate in the message. */
  readonly signerSpki?: Buffer
}

interface SignerInfo {
  readonly id: CertificateId
  readonly digestIdentifier: Buffer
  readonly digest: Digest
  readonly attributes: CmsAttributes
  /** The attributes as they were signed: a SET. */
  readonly signedBytes: Buffer
  readonly signatureIdentifier: Buffer
  readonly signature: Buffer
}

const defaultMaxBytes = 262_144
const maxCertificates = 16
const maxCrls = 4
const maxAttributes = 32
const maxValues = 8

/**
 * Reads SignedData with exactly one signer and verifies it (RFC 5652 §5.4 and §5.6). Signed attributes are required: without
 * them a signature over content can be passed off as one over attributes. contentType and messageDigest must be
 * there once and agree with the content; an attribute without value, or given twice, is refused.
 *
 * A good answer says that the holder of `signerSpki` signed this, and nothing about who that is.
 *
 * @param der ContentInfo, at most 256 KiB unless said otherwise
 * @throws PkiError `der` for malformed DER, `key` for a key that is refused, `cms` for everything else
 */
export function verifySignedData(der: Buffer, options: VerifyOptions = {}): VerifiedData {
  const { maxBytes = defaultMaxBytes } = options
  // The sets outside the signature are unsorted in the field and mean the same in any order.
  checkDer(der, { maxBytes, setOrder: 'report' })
  const body = openContentInfo(der, oids.signedData, maxBytes)
  const version = body.smallInteger()
  if (version !== 1 && version !== 3) throw new PkiError('cms', 'Version must be 1 or 3')
  const listed = readElements(body.enter(tags.set), maxCertificates, 'digest algorithms')
  const { contentType, content } = readContent(body)
  const certificates = readOptionalElements(body, 0, maxCertificates, 'certificates')
  const crls = readOptionalElements(body, 1, maxCrls, 'CRLs')
  const signers = body.enter(tags.set)
  body.finish()
  const signer = readSignerInfo(signers)
  if (!signers.isDone()) throw new PkiError('cms', 'Exactly one signer is expected', signers.offset)
  if (!listed.some((one) => digestOf(one) === signer.digest)) {
    throw new PkiError('cms', "The signer's digest is not among the message's digests")
  }
  if (signer.digest === 'sha1' && !options.allowSha1) throw new PkiError('cms', 'SHA-1 is refused')
  if (content && options.detached) throw new PkiError('cms', 'The signature is not detached')
  checkAttributes(signer, contentType, content ?? options.detached ?? Buffer.alloc(0))

  const certificate = findCertificate(signer.id, certificates)
  const signerSpki = options.signerSpki ?? certificate?.head.spki
  if (!signerSpki) throw new PkiError('cms', "The signer's certificate is not in the message")
  const key = readPublicKey(signerSpki)
  if (!verifySignerSignature(signer, key, signer.signedBytes, signer.signature)) {
    throw new PkiError('cms', 'The signature does not verify')
  }
  return {
    contentType,
    content: content ?? options.detached,
    signerId: signer.id,
    signerSpki,
    signerCertificate: certificate?.der,
    digest: signer.digest,
    attributes: signer.attributes,
    certificates,
    crls,
  }
}

/** Enters ContentInfo (RFC 5652 §3) of the type. Throws PkiError `cms` for another one. */
export function openContentInfo(der: Buffer, type: string, maxBytes: number): DerReader {
  const reader = new DerReader(der, { maxBytes })
  const info = reader.enter(tags.sequence)
  reader.finish()
  if (info.oid() !== type) throw new PkiError('cms', 'Another content type is expected', 0)
  const wrapper = info.enter(constructed(0))
  info.finish()
  const body = wrapper.enter(tags.sequence)
  wrapper.finish()
  return body
}

/** The only value of an attribute, DER; undefined without the attribute. Throws PkiError `cms` for several values. */
export function singleValue(attributes: CmsAttributes, type: string): DerReader | undefined {
  const values = attributes.get(type)
  if (!values) return undefined
  const [value] = values
  if (!value || values.length > 1) {
    throw new PkiError('cms', `Attribute ${type} must have one value`)
  }
  return new DerReader(value)
}

function readContent(body: DerReader): { contentType: string; content: Buffer | undefined } {
  const info = body.enter(tags.sequence)
  const contentType = info.oid()
  const wrapper = info.enterOptional(constructed(0))
  info.finish()
  const content = wrapper?.content(tags.octetString)
  wrapper?.finish()
  return { contentType, content }
}

function readElements(list: DerReader, max: number, what: string): Buffer[] {
  const elements: Buffer[] = []
  while (!list.isDone()) {
    if (elements.length >= max) throw new PkiError('cms', `Too many ${what}`, list.offset)
    elements.push(list.raw(tags.sequence))
  }
  return elements
}

function readOptionalElements(
  body: DerReader,
  number: number,
  max: number,
  what: string,
): Buffer[] {
  const list = body.enterOptional(constructed(number))
  return list ? readElements(list, max, what) : []
}

function readSignerInfo(signers: DerReader): SignerInfo {
  if (signers.isDone()) throw new PkiError('cms', 'There is no signer', signers.offset)
  const info = signers.enter(tags.sequence)
  const version = info.smallInteger()
  const id = readCertificateId(info)
  if (version !== (id.kind === 'key-id' ? 3 : 1)) {
    throw new PkiError('cms', "The SignerInfo's version does not fit its identifier", info.offset)
  }
  const digestIdentifier = readAlgorithm(info)
  const digest = digestOf(digestIdentifier)
  if (!digest) throw new PkiError('cms', 'The digest is not allowed', info.offset)
  const element = info.next(constructed(0))
  const { attributes, elements } = readAttributes(info.inside(element))
  // RFC 5652 §5.4: what is signed is the DER of a SET OF, whatever tag and order the attributes travel in.
  const signedBytes = setOf(...elements)
  const signatureIdentifier = readAlgorithm(info)
  const signature = info.content(tags.octetString)
  // Unsigned attributes say nothing anybody signed; they are not looked at.
  if (!info.isDone()) info.next(constructed(1))
  info.finish()
  return { id, digestIdentifier, digest, attributes, signedBytes, signatureIdentifier, signature }
}

function readAttributes(list: DerReader): { attributes: CmsAttributes; elements: Buffer[] } {
  const attributes = new Map<string, readonly Buffer[]>()
  const elements: Buffer[] = []
  while (!list.isDone()) {
    const start = list.offset
    if (attributes.size >= maxAttributes) throw new PkiError('cms', 'Too many attributes', start)
    const attribute = list.enter(tags.sequence)
    const type = attribute.oid()
    const set = attribute.enter(tags.set)
    attribute.finish()
    if (attributes.has(type)) throw new PkiError('cms', `Attribute ${type} appears twice`, start)
    const values: Buffer[] = []
    do {
      if (values.length >= maxValues) throw new PkiError('cms', 'Too many values', start)
      values.push(set.raw())
    } while (!set.isDone())
    attributes.set(type, values)
    elements.push(list.buffer.subarray(start, list.offset))
  }
  return { attributes, elements }
}

/** RFC 5652 §11.1 and §11.2. */
function checkAttributes(signer: SignerInfo, contentType: string, content: Buffer): void {
  if (singleValue(signer.attributes, cmsOids.contentType)?.oid() !== contentType) {
    throw new PkiError('cms', 'The signed content type is missing or another one')
  }
  const digest = singleValue(signer.attributes, cmsOids.messageDigest)?.content(tags.octetString)
  if (!digest?.equals(createHash(signer.digest).update(content).digest())) {
    throw new PkiError('cms', "The signed digest is missing or not the content's")
  }
}

function findCertificate(
  id: CertificateId,
  certificates: readonly Buffer[],
): { der: Buffer; head: CertificateHead } | undefined {
  if (id.kind === 'key-id') return undefined
  for (const der of certificates) {
    const head = readCertificateHead(der)
    if (head.issuer.equals(id.issuer) && head.serial.equals(id.serial)) return { der, head }
  }
  return undefined
}
