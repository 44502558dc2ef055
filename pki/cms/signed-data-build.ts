import { createHash } from 'node:crypto'

import { oids } from '../der/oids.ts'
import { encodeTime } from '../der/time.ts'
import { contextConstructed, integer, octetString, oid, sequence, setOf } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import type { Signer } from '../signer.ts'
import { verifySignature } from '../signer.ts'
import type { CertificateId } from './certificate-id.ts'
import { encodeCertificateId } from './certificate-id.ts'
import { signingMethod } from './cms-algorithms.ts'
import { cmsOids } from './cms-oids.ts'

/** One signed attribute: values are DER, at least one. */
export interface CmsAttribute {
  readonly type: string
  readonly values: readonly Buffer[]
}

export interface SignedDataInput {
  /** Octets to sign. Undefined leaves the content out and signs zero octets, as SCEP failures do (RFC 8894 §3.2.2). */
  readonly content: Buffer | undefined
  /** Of content that is detached and too large to be held; `content` is left out then. Made with `signingMethod`'s digest. */
  readonly messageDigest?: Buffer
  /** Default id-data. */
  readonly contentType?: string
  /** Signs the content but does not carry it. */
  readonly isDetached?: boolean
  readonly signerId: CertificateId
  /** Beside contentType and messageDigest, which are always there. */
  readonly attributes?: readonly CmsAttribute[]
  readonly signingTime?: Date
  /** DER, to carry along. */
  readonly certificates?: readonly Buffer[]
}

/** Attributes that this code writes; a caller's copy would be a second one. */
const ownAttributes: readonly string[] = [
  cmsOids.contentType,
  cmsOids.messageDigest,
  cmsOids.signingTime,
]

/**
 * SignedData with one signer (RFC 5652 §5; RFC 5754, RFC 5753 §2, RFC 8419 and RFC 9882 for the algorithms), verified
 * with the signer's own key before it is let out.
 *
 * @returns ContentInfo, DER
 * @throws PkiError `cms` for attributes without value, given twice or written here; `key` when the signature does not
 *   verify
 */
export async function buildSignedData(input: SignedDataInput, signer: Signer): Promise<Buffer> {
  const { content, contentType = oids.data, signerId, certificates = [] } = input
  const method = signingMethod(signer)
  const messageDigest =
    input.messageDigest ??
    createHash(method.digest)
      .update(content ?? Buffer.alloc(0))
      .digest()
  const attributes = encodeAttributes(input, contentType, messageDigest)
  const signedAttributes = setOf(...attributes)
  const signature = await signer.sign(signedAttributes)
  if (!verifySignature(signer.algorithm, signer.spki, signedAttributes, signature)) {
    throw new PkiError('key', 'The signer made a signature that does not verify')
  }
  const signerInfo = sequence(
    integer(signerId.kind === 'key-id' ? 3 : 1),
    encodeCertificateId(signerId),
    method.digestIdentifier,
    contextConstructed(0, ...sorted(attributes)),
    method.signatureIdentifier,
    octetString(signature),
  )
  const carried =
    content && !input.isDetached ? contextConstructed(0, octetString(content)) : Buffer.alloc(0)
  const isPlain = contentType === oids.data && signerId.kind === 'issuer-and-serial'
  const body = sequence(
    integer(isPlain ? 1 : 3),
    setOf(method.digestIdentifier),
    sequence(oid(contentType), carried),
    certificates.length > 0 ? contextConstructed(0, ...sorted(certificates)) : Buffer.alloc(0),
    setOf(signerInfo),
  )
  return sequence(oid(oids.signedData), contextConstructed(0, body))
}

function encodeAttributes(
  { attributes = [], signingTime }: SignedDataInput,
  contentType: string,
  messageDigest: Buffer,
): Buffer[] {
  const types = attributes.map(({ type }) => type)
  if (new Set([...types, ...ownAttributes]).size !== types.length + ownAttributes.length) {
    throw new PkiError('cms', 'A signed attribute is given twice')
  }
  if (attributes.some(({ values }) => values.length === 0)) {
    throw new PkiError('cms', 'A signed attribute has no value')
  }
  const all: CmsAttribute[] = [
    { type: cmsOids.contentType, values: [oid(contentType)] },
    { type: cmsOids.messageDigest, values: [octetString(messageDigest)] },
    ...(signingTime ? [{ type: cmsOids.signingTime, values: [encodeTime(signingTime)] }] : []),
    ...attributes,
  ]
  return all.map(({ type, values }) => sequence(oid(type), setOf(...values)))
}

function sorted(elements: readonly Buffer[]): Buffer[] {
  return elements.toSorted((a, b) => a.compare(b))
}
