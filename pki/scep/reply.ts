import { randomBytes } from 'node:crypto'

import type { CertificateId } from '../cms/certificate-id.ts'
import { idOfCertificate } from '../cms/certificate-id.ts'
import { certsOnly, readCertsOnly } from '../cms/certs-only.ts'
import { crlOnly, readCrlOnly } from '../cms/crl-only.ts'
import { buildEnvelopedData } from '../cms/enveloped-data-build.ts'
import { buildSignedData } from '../cms/signed-data-build.ts'
import { verifySignedData } from '../cms/signed-data.ts'
import { PkiError } from '../errors.ts'
import type { RsaDecrypter } from '../forge.ts'
import { openRsaEnvelope } from '../forge.ts'
import type { Signer } from '../signer.ts'
import type { ScepFailure } from './attributes.ts'
import { encodeScepAttributes, readScepAttributes } from './attributes.ts'
import type { ScepLeniency, ScepMessage, ScepRequester } from './request.ts'
import { envelopeIn } from './request.ts'

/** What is answered. Certificates are DER, the issued one first. */
export type ScepOutcome =
  | { readonly status: 'success'; readonly certificates: readonly Buffer[] }
  | { readonly status: 'success'; readonly crl: Buffer }
  | { readonly status: 'pending' }
  | { readonly status: 'failure'; readonly failure: ScepFailure; readonly text?: string }

export interface ScepResponder {
  /** The registration authority's RSA certificate, DER, and its key. */
  readonly certificate: Buffer
  readonly signer: Signer
}

/** What ties an answer to its request. Without a cipher, when its envelope did not open, there is nothing to encrypt. */
export type AnsweredRequest = Pick<ScepMessage, 'transactionId' | 'senderNonce' | 'signer'> &
  Partial<Pick<ScepRequester, 'cipher'>>

/** The failInfo for a request this library refused: never more than whether the message or the request was bad. */
export function scepFailureOf(error: PkiError): ScepFailure {
  return error.code === 'cms' ? 'badMessageCheck' : 'badRequest'
}

/**
 * CertRep (RFC 8894 §3.3.2), signed by the responder. Success carries certificates or a CRL in an envelope to the requester's key, in
 * the cipher the requester used; failure and pending carry nothing.
 *
 * @returns pkiMessage, DER
 * @throws PkiError `scep` for a success to a request that was not opened, `key`, `cms`
 */
export async function buildCertRep(
  request: AnsweredRequest,
  outcome: ScepOutcome,
  { certificate, signer }: ScepResponder,
): Promise<Buffer> {
  const attributes = encodeScepAttributes({
    messageType: 'CertRep',
    transactionId: request.transactionId,
    senderNonce: randomBytes(16),
    recipientNonce: request.senderNonce,
    status: outcome.status,
    ...(outcome.status === 'failure'
      ? { failure: outcome.failure, failureText: outcome.text }
      : undefined),
  })
  return await buildSignedData(
    {
      content: outcome.status === 'success' ? seal(request, outcome) : undefined,
      signerId: idOfCertificate(certificate),
      certificates: [certificate],
      attributes,
    },
    signer,
  )
}

function seal(request: AnsweredRequest, outcome: ScepOutcome & { status: 'success' }): Buffer {
  const { signer, cipher } = request
  if (!cipher) throw new PkiError('scep', 'A request that did not open has no success')
  const { issuer, serial, spki } = signer
  const id: CertificateId = { kind: 'issuer-and-serial', issuer, serial }
  const message = 'crl' in outcome ? crlOnly(outcome.crl) : certsOnly(outcome.certificates)
  return buildEnvelopedData(message, { kind: 'certificate', id, spki }, { cipher })
}

export interface CertRepExpectations {
  readonly transactionId: string
  /** The nonce of the request. */
  readonly senderNonce: Buffer
  /** SubjectPublicKeyInfo of the registration authority, from GetCACert. */
  readonly responderSpki: Buffer
  readonly decrypter: RsaDecrypter
  readonly expects: 'certificates' | 'crl'
  readonly leniency?: ScepLeniency
}

/**
 * Reads the answer to a request, for a client. It must be signed by the responder and name the request's transaction and
 * nonce.
 *
 * @throws PkiError `der`, `cms`, or `scep` for an answer to another request
 */
export async function readCertRep(
  der: Buffer,
  expected: CertRepExpectations,
): Promise<ScepOutcome> {
  const { leniency = {}, responderSpki } = expected
  const { allowSha1 = false, allowTripleDes = false } = leniency
  const signed = verifySignedData(der, { signerSpki: responderSpki, allowSha1 })
  const attributes = readScepAttributes(signed.attributes)
  if (attributes.messageType !== 'CertRep') throw new PkiError('scep', 'Not an answer')
  const isOurs =
    attributes.transactionId === expected.transactionId &&
    attributes.recipientNonce?.equals(expected.senderNonce)
  if (!isOurs) throw new PkiError('scep', 'The answer is to another request')
  switch (attributes.status) {
    case 'success': {
      const { content } = await openRsaEnvelope(envelopeIn(signed), expected.decrypter, {
        allowTripleDes,
      })
      if (expected.expects === 'crl') return { status: 'success', crl: readCrlOnly(content) }
      return { status: 'success', certificates: readCertsOnly(content) }
    }
    case 'pending':
      return { status: 'pending' }
    case 'failure': {
      const { failure, failureText } = attributes
      if (!failure) throw new PkiError('scep', 'A failure without failInfo')
      return { status: 'failure', failure, ...(failureText ? { text: failureText } : {}) }
    }
    case undefined:
    default:
      throw new PkiError('scep', 'An answer without pkiStatus')
  }
}
