import type { CrlInput, RevokedCertificate } from '../../pki/crl/build.ts'
import { buildCrl, signCrl } from '../../pki/crl/build.ts'
import type { Crl } from '../../pki/crl/parse.ts'
import { parseCrl } from '../../pki/crl/parse.ts'
import type { Authority } from './pki-fixture.ts'
import { daysFrom, now } from './pki-fixture.ts'

/** Input of a CRL that an honest issuer makes now, with changes. */
export function crlInput(
  issuer: Authority,
  revoked: Iterable<RevokedCertificate>,
  change: Partial<CrlInput> = {},
): CrlInput {
  return {
    issuerName: issuer.certificate.subject,
    issuerKeyId: issuer.certificate.subjectKeyId ?? Buffer.alloc(0),
    signatureAlgorithm: issuer.signer.algorithm,
    number: 7n,
    thisUpdate: now,
    nextUpdate: daysFrom(now, 7),
    revoked,
    ...change,
  }
}

export async function makeCrl(
  issuer: Authority,
  revoked: Iterable<RevokedCertificate>,
  change: Partial<CrlInput> = {},
): Promise<Crl> {
  return parseCrl(await signCrl(buildCrl(crlInput(issuer, revoked, change)), issuer.signer))
}
