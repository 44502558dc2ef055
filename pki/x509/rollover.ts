import { PkiError } from '../errors.ts'
import { keyIdentifier } from '../keys.ts'
import type { Signer } from '../signer.ts'
import { newSerial, signCertificate } from './issue.ts'
import { lintTbs } from './lint.ts'
import type { Certificate } from './parse.ts'
import { buildTbs } from './profiles.ts'

/** A root with its key at hand. */
export interface RootWithKey {
  readonly certificate: Certificate
  readonly signer: Signer
}

export interface KeyUpdate {
  /** The old root's key, certified by the new root: for those who know only the new one. DER. */
  readonly oldWithNew: Buffer
  /** The new root's key, certified by the old root: for those who know only the old one. DER. */
  readonly newWithOld: Buffer
}

/**
 * The pair of certificates with which devices follow from one root to the next (RFC 4210 §4.4, given out in EST cacerts by
 * RFC 7030 §4.1.3). Each ends with the root that ends first.
 *
 * @throws PkiError `profile` when the new root does not outlive the old one (clients take the self-signed certificate that
 *   ends last as the current root), or the roots are the same, or a certificate would break its profile
 */
export async function keyUpdateOf(old: RootWithKey, next: RootWithKey): Promise<KeyUpdate> {
  if (next.certificate.notAfter <= old.certificate.notAfter) {
    throw new PkiError('profile', 'The new root must outlive the old one')
  }
  return {
    oldWithNew: await crossCertify(old.certificate, next),
    newWithOld: await crossCertify(next.certificate, old),
  }
}

/**
 * A certificate of profile `cross` for another root's name and key, DER. Throws PkiError `profile` when it would break the
 * profile, `key` when the signer is not the issuer's.
 */
export async function crossCertify(root: Certificate, issuer: RootWithKey): Promise<Buffer> {
  const { certificate, signer } = issuer
  if (!certificate.spki.equals(signer.spki)) {
    throw new PkiError('key', "The signer is not the issuing root's")
  }
  const { subjectKeyId } = certificate
  // Certificates below the root carry its identifier, and have to find it here again.
  if (!subjectKeyId || !root.subjectKeyId?.equals(keyIdentifier(root.spki))) {
    throw new PkiError('profile', 'A root with a key identifier that is not ours')
  }
  const ends = [root.notAfter.getTime(), certificate.notAfter.getTime()]
  const tbs = buildTbs('cross', {
    serial: newSerial(),
    issuer: { name: certificate.subject, keyId: subjectKeyId },
    subject: root.subject,
    spki: root.spki,
    notBefore: root.notBefore,
    notAfter: new Date(Math.min(...ends)),
    signatureAlgorithm: signer.algorithm,
  })
  const findings = lintTbs(tbs, 'cross', certificate)
  if (findings.length > 0) throw new PkiError('profile', findings.join('; '))
  return await signCertificate(tbs, signer)
}
