import { PkiError } from '../errors.ts'
import { fromPem, toPem } from '../pem.ts'
import { verifySignature } from '../signer.ts'
import { newSerial, signCertificate } from '../x509/issue.ts'
import { lintTbs } from '../x509/lint.ts'
import type { Certificate } from '../x509/parse.ts'
import { parseCertificate } from '../x509/parse.ts'
import { buildTbs } from '../x509/profiles.ts'
import type { RootWithKey } from '../x509/rollover.ts'
import type { CaRequest } from './ca-request.ts'

/**
 * The certificate for an issuing CA, signed on the root's machine.
 *
 * @throws PkiError `profile` with every finding when the certificate would break its profile; nothing is signed then
 */
export async function answerCaRequest(
  request: CaRequest,
  root: RootWithKey,
  { notBefore, notAfter }: { notBefore: Date; notAfter: Date },
): Promise<Certificate> {
  const { certificate, signer } = root
  const { csr, subject, permittedNames, crlUrl, aiaUrl } = request
  if (!certificate.subjectKeyId || !certificate.spki.equals(signer.spki)) {
    throw new PkiError('key', "The signer is not the root's, or the root has no key identifier")
  }
  const tbs = buildTbs('issuing', {
    serial: newSerial(),
    issuer: { name: certificate.subject, keyId: certificate.subjectKeyId },
    subject,
    spki: csr.spki,
    notBefore,
    notAfter,
    permittedNames,
    crlUrl,
    aiaUrl,
    signatureAlgorithm: signer.algorithm,
  })
  const findings = lintTbs(tbs, 'issuing', certificate)
  if (findings.length > 0) throw new PkiError('profile', findings.join('; '))
  return parseCertificate(await signCertificate(tbs, signer))
}

/** The answer file: PEM of the new CA's certificate and of the root's. */
export function writeCaAnswer(issued: Certificate, root: Certificate): string {
  return toPem('CERTIFICATE', issued.der) + toPem('CERTIFICATE', root.der)
}

/**
 * Reads an answer file on the online system: the certificate has to be for the key and the wishes of the request, made by
 * the root that is expected, and without findings.
 *
 * @param root the root's certificate, pinned at the ceremony and not taken from the file
 * @throws PkiError `pem`, `der` or `certificate`
 */
export function readCaAnswer(text: string, request: CaRequest, root: Certificate): Certificate {
  const [issuedDer, rootDer, ...more] = fromPem(text, 'CERTIFICATE')
  if (!issuedDer || !rootDer || more.length > 0) {
    throw new PkiError('pem', 'An answer file has the certificate and the root')
  }
  if (!rootDer.equals(root.der)) {
    throw new PkiError('certificate', 'The answer comes from another root')
  }
  const issued = parseCertificate(issuedDer)
  const { signatureAlgorithm, tbs, signature } = issued
  if (!verifySignature(signatureAlgorithm, root.spki, tbs, signature)) {
    throw new PkiError('certificate', 'The root did not sign the certificate')
  }
  if (!issued.spki.equals(request.csr.spki)) {
    throw new PkiError('certificate', 'The certificate is for another key')
  }
  const findings = lintTbs(tbs, 'issuing', root)
  if (findings.length > 0) throw new PkiError('certificate', findings.join('; '))
  if (!isAsAsked(issued, request)) {
    throw new PkiError('certificate', 'The certificate is not what was asked for')
  }
  return issued
}

/** The extensions of the request are copied into the certificate byte for byte, and no others of their kind are there. */
function isAsAsked(issued: Certificate, { csr, subject }: CaRequest): boolean {
  const granted = [...csr.requestedExtensions.values()].every(({ oid, value }) =>
    issued.extensions.get(oid)?.value.equals(value),
  )
  // Beside what was asked for there are the two key identifiers.
  const isAll = issued.extensions.size === csr.requestedExtensions.size + 2
  return granted && isAll && issued.subject.equals(subject)
}
