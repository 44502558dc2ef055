import { createHash } from 'node:crypto'

import { PkiError } from '../../pki/errors.ts'
import { readName } from '../../pki/names.ts'
import { fromPem } from '../../pki/pem.ts'
import { type Certificate, fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import { DomainError } from '../errors.ts'

const maxAnchors = 20

/**
 * The trust anchors of a profile, from PEM. An anchor must be a CA that may sign certificates; it may be an intermediate one.
 *
 * @throws DomainError `invalid-request`, naming the field
 */
export function readAnchors(pems: readonly string[]): Certificate[] {
  const anchors = pems.flatMap((pem, index) => readPem(pem, `auth.trustAnchors.${index}`))
  if (anchors.length > maxAnchors) {
    throw refused('auth.trustAnchors', `has more than ${maxAnchors} certificates`)
  }
  for (const anchor of anchors) {
    if (!anchor.isCa || !anchor.keyUsage?.has('keyCertSign')) {
      throw refused('auth.trustAnchors', 'must be certificates of authorities (CA, keyCertSign)')
    }
  }
  return anchors
}

/** The certificates in a PEM text; at least one. */
export function readPem(pem: string, at: string): Certificate[] {
  try {
    const certificates = fromPem(pem, 'CERTIFICATE').map((der) => parseCertificate(der))
    if (certificates.length > 0) return certificates
  } catch (error) {
    if (!(error instanceof PkiError)) throw error
    throw refused(at, `is not a certificate we can read: ${error.message}`)
  }
  throw refused(at, 'is no PEM certificate: it begins with -----BEGIN CERTIFICATE-----')
}

/** Lower hex, by which the profile of a certificate's issuer is found. */
export function subjectHash(name: Buffer): string {
  return createHash('sha256').update(name).digest('hex')
}

/** What an operator sees of an anchor. */
export function describeAnchor(base64: string): { subject: string; sha256: string } {
  const der = Buffer.from(base64, 'base64')
  const subject = readName(parseCertificate(der).subject).map(({ value }) => value)
  return { subject: subject.join(', '), sha256: fingerprint(der) }
}

function refused(at: string, why: string): DomainError {
  return new DomainError('invalid-request', `${at} ${why}`, { issues: [{ at, message: why }] })
}
