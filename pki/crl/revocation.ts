import { PkiError } from '../errors.ts'

/** CRLReason (RFC 5280 §5.3.1). 7 is unused; `removeFromCRL` is for deltas and never a reason to revoke. */
export const crlReasons = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  certificateHold: 6,
  removeFromCRL: 8,
  privilegeWithdrawn: 9,
  aACompromise: 10,
} as const

export type CrlReason = (typeof crlReasons)[keyof typeof crlReasons]

export interface Revocation {
  readonly revokedAt: Date
  /** CRLReason. */
  readonly reason: number
}

const finalReasons: readonly number[] = Object.values(crlReasons).filter(
  (reason) => reason !== crlReasons.certificateHold && reason !== crlReasons.removeFromCRL,
)

/**
 * The state of a certificate after it is revoked or put on hold. Asking twice changes nothing. A hold may become
 * final, and keeps its date: what was signed during the hold stays in doubt. A final revocation is never softened; only
 * a key compromise found out later replaces its reason, and may move its date back.
 *
 * @param current undefined for a certificate that is not revoked
 * @throws PkiError `crl` for a reason that does not revoke, or a change that is not allowed
 */
export function revoke(
  current: Revocation | undefined,
  { revokedAt, reason }: Revocation,
): Revocation {
  const isFinal = finalReasons.includes(reason)
  if (!isFinal && reason !== crlReasons.certificateHold) {
    throw new PkiError('crl', 'Not a reason to revoke a certificate')
  }
  if (!current) return { revokedAt, reason }
  if (current.reason === reason) return current
  if (isFinal && current.reason === crlReasons.certificateHold) {
    return { revokedAt: current.revokedAt, reason }
  }
  if (reason === crlReasons.keyCompromise) {
    return { revokedAt: earlier(current.revokedAt, revokedAt), reason }
  }
  throw new PkiError('crl', 'The certificate is revoked for another reason already')
}

/** The state after a release: undefined, not revoked. Throws PkiError `crl` unless it is on hold or not revoked. */
export function release(current: Revocation | undefined): undefined {
  if (current && current.reason !== crlReasons.certificateHold) {
    throw new PkiError('crl', 'Only a hold can be released')
  }
  return undefined
}

/**
 * Whether a revoked certificate belongs on the next full CRL: while it is valid, and after its end until one full CRL
 * has shown it (RFC 5280 §3.3; pki.md V2). Deltas take the same records.
 *
 * @param lastFullAt thisUpdate of the last full CRL of the scope; undefined before the first one
 */
export function belongsOnCrl(
  record: { readonly revokedAt: Date; readonly notAfter: Date },
  lastFullAt: Date | undefined,
): boolean {
  if (!lastFullAt) return true
  // Not "before": thisUpdate has no fraction of a second, and one entry too many harms nobody.
  return record.notAfter >= lastFullAt || record.revokedAt >= lastFullAt
}

function earlier(a: Date, b: Date): Date {
  return a < b ? a : b
}
