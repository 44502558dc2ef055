import { createHash } from 'node:crypto'

import { crlReasons } from '../crl/revocation.ts'
import { oids } from '../der/oids.ts'
import { encodeGeneralizedTime } from '../der/time.ts'
import {
  bitString,
  contextConstructed,
  contextPrimitive,
  enumerated,
  octetString,
  oid,
  sequence,
} from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import { publicKeyOctets } from '../keys.ts'
import type { Signer } from '../signer.ts'
import { verifySignature } from '../signer.ts'
import type { Certificate } from '../x509/parse.ts'
import type { CertIdHash, IssuerHashes } from './cert-id.ts'
import { encodeCertId, isOfIssuer, issuerHashes } from './cert-id.ts'
import type { OcspRequest } from './request.ts'
import { encodeNonce, parseOcspRequest } from './request.ts'

/** OCSPResponseStatus (RFC 6960 §4.2.1) but for sigRequired, which we never ask for. */
export const responseStatuses = {
  successful: 0,
  malformedRequest: 1,
  internalError: 2,
  tryLater: 3,
  unauthorized: 6,
} as const

export type ResponseStatus = keyof typeof responseStatuses

export type CertStatus =
  | { readonly status: 'good' }
  | { readonly status: 'revoked'; readonly revokedAt: Date; readonly reason: number }
  /** A serial that this issuer never gave out. */
  | { readonly status: 'unknown' }

/** What is known of one serial, since when, and until when it may be relied upon. */
export type SerialStatus = CertStatus & {
  /** When the status was known; not back-dated. */
  readonly thisUpdate: Date
  readonly nextUpdate: Date
}

/** One that answers for one issuer, made by `ocspResponder`. */
export interface OcspResponder {
  readonly issuer: Certificate
  readonly hashes: IssuerHashes
  readonly signer: Signer
  /** ResponderID and certs, DER; the same in each answer. */
  readonly responderId: Buffer
  readonly certificates: Buffer
}

/**
 * A delegated responder (RFC 6960 §4.2.2.2): its certificate comes from the very issuer that it answers for.
 *
 * @throws PkiError `ocsp` when the issuer did not sign the certificate, it is not for OCSPSigning, or the signer has another key
 */
export function ocspResponder(
  issuer: Certificate,
  certificate: Certificate,
  signer: Signer,
): OcspResponder {
  const { signatureAlgorithm, tbs, signature } = certificate
  if (
    !certificate.issuer.equals(issuer.subject) ||
    !verifySignature(signatureAlgorithm, issuer.spki, tbs, signature)
  ) {
    throw new PkiError('ocsp', 'The responder is not certified by the issuer')
  }
  if (!certificate.extKeyUsage?.includes(oids.ocspSigning)) {
    throw new PkiError('ocsp', 'The responder may not sign OCSP answers')
  }
  if (!certificate.spki.equals(signer.spki)) {
    throw new PkiError('ocsp', 'The signer has another key than the responder')
  }
  return {
    issuer,
    signer,
    hashes: issuerHashes(issuer),
    responderId: contextConstructed(2, octetString(responderKeyHash(certificate.spki))),
    certificates: contextConstructed(0, sequence(certificate.der)),
  }
}

/** KeyHash (RFC 6960 §4.2.1): SHA-1 by definition. */
export function responderKeyHash(spki: Buffer): Buffer {
  return createHash('sha1').update(publicKeyOctets(spki)).digest()
}

export interface OcspAnswer {
  readonly status: ResponseStatus
  /** OCSPResponse, DER. */
  readonly der: Buffer
  /** Absent when the answer is for this one request: an error, or one with a nonce. */
  readonly validity: { readonly thisUpdate: Date; readonly nextUpdate: Date } | undefined
}

/** An answer without content. Needs no key, so that it can always be given. */
export function ocspError(status: Exclude<ResponseStatus, 'successful'>): OcspAnswer {
  return { status, der: sequence(enumerated(responseStatuses[status])), validity: undefined }
}

/** The statuses of serials (as in `Certificate.serial`) in their order, all at once. */
export type LookUp = (serials: readonly Buffer[]) => Promise<readonly SerialStatus[]>

/**
 * Answers a request. What cannot be read is malformedRequest; a CertID of another issuer makes it unauthorized, since one
 * signature cannot speak for two issuers. Errors of `lookUp` and of the signer are thrown: the caller answers them with
 * `ocspError`, never with a status.
 */
export async function answerOcsp(
  request: Buffer,
  responder: OcspResponder,
  lookUp: LookUp,
  now: Date,
): Promise<OcspAnswer> {
  const asked = readRequest(request)
  if (!asked) return ocspError('malformedRequest')
  const { certIds, nonce } = asked
  if (!certIds.every((certId) => isOfIssuer(certId, responder.hashes))) {
    return ocspError('unauthorized')
  }
  const statuses = await lookUp(certIds.map(({ serial }) => serial))
  const singles = certIds.map(({ der }, index) => {
    const known = statuses[index]
    if (!known) throw new PkiError('ocsp', 'A status is missing')
    return { certId: der, ...known }
  })
  return await signOcsp(responder, singles, now, nonce)
}

function readRequest(der: Buffer): OcspRequest | undefined {
  try {
    return parseOcspRequest(der)
  } catch (error) {
    if (error instanceof PkiError) return undefined
    throw error
  }
}

/**
 * An answer made before anybody asked: for one serial, under one hash. It is what `answerOcsp` gives to a request without
 * a nonce at the same time, but for a random part of the signature.
 */
export async function presignOcsp(
  responder: OcspResponder,
  serial: Buffer,
  known: SerialStatus,
  { hash, now }: { hash: CertIdHash; now: Date },
): Promise<OcspAnswer> {
  const certId = encodeCertId(hash, responder.hashes, serial)
  return await signOcsp(responder, [{ certId, ...known }], now)
}

type Single = SerialStatus & { readonly certId: Buffer }

async function signOcsp(
  responder: OcspResponder,
  singles: readonly Single[],
  now: Date,
  nonce?: Buffer,
): Promise<OcspAnswer> {
  const { signer, certificates } = responder
  const data = responseData(responder, singles, now, nonce)
  // Not verified like a certificate's: that would cost more than all the rest, and a bad one fails closed.
  const signature = await signer.sign(data)
  const basic = sequence(data, signer.algorithm, bitString(signature), certificates)
  const bytes = sequence(oid(oids.ocspBasic), octetString(basic))
  const der = sequence(enumerated(responseStatuses.successful), contextConstructed(0, bytes))
  return { status: 'successful', der, validity: nonce ? undefined : commonValidity(singles) }
}

/** ResponseData (RFC 6960 §4.2.1), version 1 left out as the DEFAULT it is. */
function responseData(
  { responderId }: OcspResponder,
  singles: readonly Single[],
  now: Date,
  nonce: Buffer | undefined,
): Buffer {
  const extensions = nonce ? [contextConstructed(1, sequence(encodeNonce(nonce)))] : []
  return sequence(
    responderId,
    encodeGeneralizedTime(now),
    sequence(...singles.map(singleResponse)),
    ...extensions,
  )
}

function singleResponse(single: Single): Buffer {
  if (!(single.nextUpdate > single.thisUpdate)) {
    throw new PkiError('ocsp', 'The next update must be after this one')
  }
  return sequence(
    single.certId,
    certStatus(single),
    encodeGeneralizedTime(single.thisUpdate),
    contextConstructed(0, encodeGeneralizedTime(single.nextUpdate)),
  )
}

const revocationReasons: readonly number[] = Object.values(crlReasons).filter(
  (reason) => reason !== crlReasons.removeFromCRL,
)

function certStatus(status: CertStatus): Buffer {
  switch (status.status) {
    case 'good':
      return contextPrimitive(0, Buffer.alloc(0))
    case 'unknown':
      return contextPrimitive(2, Buffer.alloc(0))
    case 'revoked': {
      const { reason, revokedAt } = status
      if (!revocationReasons.includes(reason)) {
        throw new PkiError('ocsp', 'Not a reason to revoke a certificate')
      }
      const written =
        reason === crlReasons.unspecified ? [] : [contextConstructed(0, enumerated(reason))]
      return contextConstructed(1, encodeGeneralizedTime(revokedAt), ...written)
    }
    default:
      // Fails closed: a status that is not known is no status, and above all not good.
      throw new PkiError('ocsp', 'Unknown status')
  }
}

function commonValidity(singles: readonly Single[]) {
  const thisMs = singles.map(({ thisUpdate }) => thisUpdate.getTime())
  const nextMs = singles.map(({ nextUpdate }) => nextUpdate.getTime())
  return { thisUpdate: new Date(Math.max(...thisMs)), nextUpdate: new Date(Math.min(...nextMs)) }
}
