import type { Certificate } from '../x509/parse.ts'
import { isDeltaTo } from './delta.ts'
import type { Crl, CrlEntry } from './parse.ts'
import { findRevoked, verifyCrl } from './parse.ts'
import { crlReasons } from './revocation.ts'

export type CrlStatus =
  | { readonly status: 'good' }
  | { readonly status: 'revoked'; readonly reason: number; readonly revokedAt: Date }
  /** No CRL speaks for the certificate. Never to be taken for good. */
  | { readonly status: 'unknown' }

export interface CrlStatusOptions {
  readonly at: Date
  /** How far behind this clock may be (pki.md V12): a CRL from so little in the future still counts. */
  readonly maxSkewMs?: number
}

/** The work for one certificate; shards and issuers make a handful. */
const maxLists = 64

/**
 * What CRLs say of a certificate (RFC 5280 §6.3.3, for CRLs of the certificate's own issuer and key that cover all reasons;
 * `parseCrl` refuses the others). Of several the newest counts, with the newest delta on top. CRLs whose signature
 * does not verify, that have run out or that speak for other certificates count for nothing.
 *
 * @param issuer whose signature on the certificate was verified before
 */
export function statusByCrls(
  certificate: Certificate,
  issuer: Certificate,
  lists: readonly Crl[],
  { at, maxSkewMs = 0 }: CrlStatusOptions,
): CrlStatus {
  if (lists.length > maxLists || !certificate.issuer.equals(issuer.subject)) {
    return { status: 'unknown' }
  }
  const latest = new Date(at.getTime() + maxSkewMs)
  const usable = lists.filter(
    (crl) =>
      crl.thisUpdate <= latest &&
      crl.nextUpdate >= at &&
      covers(crl, certificate) &&
      verifyCrl(crl, issuer),
  )
  const base = newest(usable.filter(({ baseNumber }) => baseNumber === undefined))
  if (!base) return { status: 'unknown' }
  const delta = newest(usable.filter((crl) => isDeltaTo(crl, base)))
  const changed = delta && findRevoked(delta, certificate.serial)
  if (changed) return statusOf(changed)
  const listed = findRevoked(base, certificate.serial)
  return listed ? statusOf(listed) : { status: 'good' }
}

function statusOf({ reason, revokedAt }: CrlEntry): CrlStatus {
  if (reason === crlReasons.removeFromCRL) return { status: 'good' }
  return { status: 'revoked', reason, revokedAt }
}

function newest(lists: readonly Crl[]): Crl | undefined {
  return lists.toSorted((a, b) => (a.number < b.number ? 1 : -1))[0]
}

/** §6.3.3 (b) (2): the kind of certificate, and the distribution point by its bytes (pki.md P9). */
function covers({ issuingDistributionPoint: point }: Crl, certificate: Certificate): boolean {
  if (!point) return true
  if (point.onlyUserCertificates && certificate.isCa) return false
  if (point.onlyCaCertificates && !certificate.isCa) return false
  const { name } = point
  if (!name) return true
  const points = certificate.crlDistributionPoints ?? []
  return points.some(
    (one) => one.name?.equals(name) && one.reasons === undefined && one.crlIssuer === undefined,
  )
}
