import type { CertificateHead } from '../cms/certificate-id.ts'
import { readCertificateHead, readIssuerAndSerial } from '../cms/certificate-id.ts'
import type { Digest } from '../cms/cms-algorithms.ts'
import type { ContentCipher } from '../cms/enveloped-data-build.ts'
import type { VerifiedData } from '../cms/signed-data.ts'
import { verifySignedData } from '../cms/signed-data.ts'
import type { Csr } from '../csr/parse.ts'
import { parseCsr } from '../csr/parse.ts'
import { berToDer } from '../der/ber.ts'
import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { tags } from '../der/tags.ts'
import { PkiError } from '../errors.ts'
import type { RsaDecrypter } from '../forge.ts'
import { openRsaEnvelope } from '../forge.ts'
import { keyFamilyIn } from '../keys.ts'
import { readName } from '../names.ts'
import type { ScepMessageType } from './attributes.ts'
import { readScepAttributes } from './attributes.ts'

/** What a line of old devices may still use. Nothing by default. */
export interface ScepLeniency {
  readonly allowSha1?: boolean
  readonly allowTripleDes?: boolean
  /** Messages in BER, as Java's and Apple's clients write them. */
  readonly allowBer?: boolean
}

/** A request whose signature was verified; its envelope is still closed. */
export interface ScepMessage {
  readonly messageType: Exclude<ScepMessageType, 'CertRep'>
  readonly transactionId: string
  readonly senderNonce: Buffer
  /** Whoever signed, DER; an RSA certificate. Self-signed, or issued by somebody: the caller decides what it is worth. */
  readonly signerCertificate: Buffer
  readonly signer: CertificateHead
  readonly digest: Digest
  readonly envelope: Buffer
  readonly leniency: ScepLeniency
}

export interface ScepRequester extends ScepMessage {
  /** What the requester encrypted in, and so can read. */
  readonly cipher: ContentCipher
}

export type ScepRequest = ScepRequester &
  (
    | { /** The signer's key is the request's key. */ readonly type: 'PKCSReq'; readonly csr: Csr }
    | {
        /** The caller compares `signerCertificate` with the device's active certificate. */
        readonly type: 'RenewalReq'
        readonly csr: Csr
      }
    | { readonly type: 'CertPoll'; readonly issuer: Buffer; readonly subject: Buffer }
    | { readonly type: 'GetCert' | 'GetCRL'; readonly issuer: Buffer; readonly serial: Buffer }
  )

export const maxScepBytes = 131_072

/**
 * Reads the outside of a request (RFC 8894 §3.2) and verifies its signature: PKCSReq, RenewalReq, CertPoll, GetCert and GetCRL;
 * CertRep and every other type is refused. Good for answering, and for `openScepRequest`.
 *
 * @param der pkiMessage, at most 128 KiB
 * @throws PkiError `der` for a malformed message, `key` for a signer's key that is refused, `cms` for a signature that does not
 *   verify, `scep` for attributes, types and signers that are not RSA
 */
export function verifyScepMessage(der: Buffer, leniency: ScepLeniency = {}): ScepMessage {
  const { allowSha1 = false, allowBer = false } = leniency
  const message = allowBer ? berToDer(der, maxScepBytes) : der
  const signed = verifySignedData(message, { maxBytes: maxScepBytes, allowSha1 })
  const { messageType, transactionId, senderNonce } = readScepAttributes(signed.attributes)
  if (messageType === 'CertRep') throw new PkiError('scep', 'An answer is not a request')
  const signerCertificate = rsaSigner(signed)
  return {
    messageType,
    transactionId,
    senderNonce,
    signerCertificate,
    signer: readCertificateHead(signerCertificate),
    digest: signed.digest,
    envelope: allowBer ? berToDer(envelopeIn(signed), maxScepBytes) : envelopeIn(signed),
    leniency,
  }
}

/**
 * Opens the envelope of a verified message and reads what is in it.
 *
 * Authentication is not done here: a PKCSReq proves possession of its key only; its challengePassword is in `csr`.
 *
 * @param ra the key that requests are encrypted to
 * @throws PkiError `cms` for an envelope that does not open (always the same message, S3), `der`, `key`, `csr` and `scep` for what
 *   is in it
 */
export async function openScepRequest(
  message: ScepMessage,
  ra: RsaDecrypter,
): Promise<ScepRequest> {
  const { messageType } = message
  const { content, cipher } = await openRsaEnvelope(message.envelope, ra, {
    maxBytes: maxScepBytes,
    allowTripleDes: message.leniency.allowTripleDes ?? false,
  })
  const requester = { ...message, cipher }
  switch (messageType) {
    case 'PKCSReq': {
      const csr = parseCsr(content)
      // Otherwise whoever overhears a request could have its certificate sent to a key of his own.
      if (!csr.spki.equals(message.signer.spki)) {
        throw new PkiError('scep', 'The request is signed by another key than it is for')
      }
      return { ...requester, type: messageType, csr }
    }
    case 'RenewalReq':
      return { ...requester, type: messageType, csr: parseCsr(content) }
    case 'CertPoll':
      return { ...requester, type: messageType, ...readIssuerAndSubject(content) }
    case 'GetCert':
    case 'GetCRL': {
      const reader = new DerReader(content)
      const named = readIssuerAndSerial(reader)
      reader.finish()
      return { ...requester, type: messageType, ...named }
    }
    default:
      throw new PkiError('scep', 'The message type is not supported')
  }
}

/** The pkcsPKIEnvelope of a message. Throws PkiError `scep` when there is none. */
export function envelopeIn({ contentType, content }: VerifiedData): Buffer {
  if (contentType !== oids.data || !content) throw new PkiError('scep', 'There is no envelope')
  return content
}

/** The answer is encrypted to this certificate, so an EC device has to use EST. */
function rsaSigner({ signerCertificate, signerSpki }: VerifiedData): Buffer {
  if (!signerCertificate) {
    throw new PkiError('scep', "The signer's certificate is not in the message")
  }
  if (keyFamilyIn(signerSpki) !== 'RSA') throw new PkiError('scep', 'SCEP needs an RSA key')
  return signerCertificate
}

/** IssuerAndSubject, RFC 8894 §3.3.3. */
function readIssuerAndSubject(content: Buffer): { issuer: Buffer; subject: Buffer } {
  const reader = new DerReader(content)
  const body = reader.enter(tags.sequence)
  reader.finish()
  const issuer = body.raw(tags.sequence)
  const subject = body.raw(tags.sequence)
  body.finish()
  readName(issuer)
  readName(subject)
  return { issuer, subject }
}
