import { oids } from '../der/oids.ts'
import { PkiError } from '../errors.ts'
import { verifySignature } from '../signer.ts'
import type { Certificate } from '../x509/parse.ts'
import type { CertStatus } from './answer.ts'
import { responderKeyHash } from './answer.ts'
import { isOfIssuer, issuerHashes } from './cert-id.ts'
import type { BasicResponse, SingleResponse } from './response.ts'
import { parseOcspResponse } from './response.ts'

export interface OcspQuestion {
  /** Serial as in `Certificate.serial`. */
  readonly serial: Buffer
  /** The certificate's issuer, validated before. */
  readonly issuer: Certificate
  readonly at: Date
  /** The nonce that was sent; the answer must have the same. */
  readonly nonce?: Buffer | undefined
  /** How far the responder's clock and this one may be apart. */
  readonly maxSkewMs?: number | undefined
}

/**
 * The status that a response gives for a certificate, after everything was verified (RFC 6960 §3.2): the signature, by the
 * issuer itself or by a responder that the issuer certified for OCSPSigning, the times and the nonce. Of several
 * answers for the serial, revoked wins and then unknown.
 *
 * @param response DER
 * @throws PkiError `der`, `certificate` or `ocsp`; all of them mean that the status is not known, never that it is good
 */
export function checkOcspResponse(response: Buffer, question: OcspQuestion): CertStatus {
  const parsed = parseOcspResponse(response)
  if (parsed.status !== 'successful') throw new PkiError('ocsp', `The answer is ${parsed.status}`)
  const { basic } = parsed
  const { serial, issuer, nonce } = question
  const signer = signerOf(basic, question)
  if (!verifySignature(basic.signatureAlgorithm, signer.spki, basic.data, basic.signature)) {
    throw new PkiError('ocsp', 'The signature does not verify')
  }
  if (nonce && !basic.nonce?.equals(nonce)) throw new PkiError('ocsp', 'Another nonce, or none')
  const hashes = issuerHashes(issuer)
  const about = basic.responses.filter(
    ({ certId }) => isOfIssuer(certId, hashes) && certId.serial.equals(serial),
  )
  for (const single of about) checkTimes(single, question)
  const decisive =
    about.find(({ status }) => status === 'revoked') ??
    about.find(({ status }) => status === 'unknown') ??
    about[0]
  if (!decisive) throw new PkiError('ocsp', 'The answer is about another certificate')
  const { certId: _, thisUpdate: __, nextUpdate: ___, ...status } = decisive
  return status
}

function checkTimes({ thisUpdate, nextUpdate }: SingleResponse, question: OcspQuestion): void {
  const { at, maxSkewMs = 0 } = question
  if (thisUpdate.getTime() - maxSkewMs > at.getTime()) {
    throw new PkiError('ocsp', 'The answer is from the future')
  }
  // §3.2 leaves the age of an answer without nextUpdate to us: it has none that we could rely on.
  if (!nextUpdate || nextUpdate.getTime() + maxSkewMs < at.getTime()) {
    throw new PkiError('ocsp', 'The answer has run out')
  }
}

/** The issuer, or the first certificate that is named as the responder and was certified as one. */
function signerOf(basic: BasicResponse, { issuer, at }: OcspQuestion): Certificate {
  if (isNamed(basic, issuer)) return issuer
  for (const certificate of basic.certificates) {
    if (isNamed(basic, certificate) && isDelegate(certificate, issuer, at)) return certificate
  }
  throw new PkiError('ocsp', 'No responder that the issuer certified')
}

function isNamed({ responder }: BasicResponse, { subject, spki }: Certificate): boolean {
  switch (responder.by) {
    case 'name':
      return responder.name.equals(subject)
    case 'key':
      return responder.hash.equals(responderKeyHash(spki))
    default:
      return false
  }
}

/** RFC 6960 §4.2.2.2: issued directly by the CA that issued the certificate in question. */
function isDelegate(certificate: Certificate, issuer: Certificate, at: Date): boolean {
  const { signatureAlgorithm, tbs, signature, keyUsage, extKeyUsage, extensions } = certificate
  return (
    certificate.issuer.equals(issuer.subject) &&
    verifySignature(signatureAlgorithm, issuer.spki, tbs, signature) &&
    certificate.notBefore <= at &&
    certificate.notAfter >= at &&
    !certificate.isCa &&
    (keyUsage?.has('digitalSignature') ?? false) &&
    (extKeyUsage?.includes(oids.ocspSigning) ?? false) &&
    // Without it the responder's own revocation would have to be asked for first.
    extensions.has(oids.ocspNoCheck)
  )
}
