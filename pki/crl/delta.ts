import { PkiError } from '../errors.ts'
import type { RevokedCertificate } from './build.ts'
import type { Crl, CrlEntry } from './parse.ts'
import { crlEntries } from './parse.ts'
import { crlReasons } from './revocation.ts'

/**
 * What a delta says: the entries that are new or changed since the base, and removeFromCRL for holds that were released
 * (RFC 5280 §5.2.4). A final entry of the base that is gone has expired; it is left to the base, because nothing
 * may take back a revocation.
 *
 * @param base what the published full CRL lists
 * @param current what a full CRL would list now
 */
export function* deltaEntries(
  base: Iterable<RevokedCertificate>,
  current: Iterable<RevokedCertificate>,
): Generator<RevokedCertificate, void, undefined> {
  const before = new Map<string, RevokedCertificate>()
  for (const entry of base) before.set(entry.serial.toString('hex'), entry)
  for (const entry of current) {
    const serial = entry.serial.toString('hex')
    const listed = before.get(serial)
    before.delete(serial)
    if (!listed || !isSame(listed, entry)) yield entry
  }
  for (const entry of before.values()) {
    if (entry.reason === crlReasons.certificateHold) {
      yield { ...entry, reason: crlReasons.removeFromCRL }
    }
  }
}

function isSame(a: RevokedCertificate, b: RevokedCertificate): boolean {
  return (
    (a.reason ?? 0) === (b.reason ?? 0) && wholeSeconds(a.revokedAt) === wholeSeconds(b.revokedAt)
  )
}

/** A CRL has no fractions of a second. */
function wholeSeconds(at: Date): number {
  return Math.floor(at.getTime() / 1000)
}

/** Whether the delta may be put on top of the full CRL (RFC 5280 §5.2.4 and §6.3.3 c). Signatures are the caller's. */
export function isDeltaTo(delta: Crl, base: Crl): boolean {
  return (
    base.baseNumber === undefined &&
    delta.baseNumber !== undefined &&
    delta.baseNumber <= base.number &&
    delta.number > base.number &&
    delta.issuer.equals(base.issuer) &&
    isEqual(delta.authorityKeyId, base.authorityKeyId) &&
    isEqual(delta.issuingDistributionPoint?.der, base.issuingDistributionPoint?.der)
  )
}

function isEqual(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b)
}

/**
 * The full list at the time of the delta, by serial in hex. Both CRLs must have been verified by `verifyCrl`.
 *
 * @throws PkiError `crl` when the delta is not one to this CRL
 */
export function applyDelta(base: Crl, delta: Crl): Map<string, CrlEntry> {
  if (!isDeltaTo(delta, base)) throw new PkiError('crl', 'The delta does not belong to this CRL')
  const entries = new Map<string, CrlEntry>()
  for (const entry of crlEntries(base)) entries.set(entry.serial.toString('hex'), entry)
  for (const entry of crlEntries(delta)) {
    const serial = entry.serial.toString('hex')
    if (entry.reason === crlReasons.removeFromCRL) entries.delete(serial)
    else entries.set(serial, entry)
  }
  return entries
}
