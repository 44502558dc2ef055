import { oids } from '../der/oids.ts'
import {
  boolean,
  contextConstructed,
  contextPrimitive,
  octetString,
  oid,
  sequence,
} from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import type { GeneralName } from './general-names.ts'
import { encodeGeneralName, maxGeneralNames } from './general-names.ts'

/** One Extension (RFC 5280 §4.1). `critical FALSE` is the DEFAULT and therefore never written. */
export function encodeExtension(type: string, critical: boolean, value: Buffer): Buffer {
  return critical
    ? sequence(oid(type), boolean(true), octetString(value))
    : sequence(oid(type), octetString(value))
}

export function encodeSubjectKeyId(keyId: Buffer): Buffer {
  return encodeExtension(oids.subjectKeyIdentifier, false, octetString(keyId))
}

const shared = new Map<string, Buffer>()
const maxShared = 256

/**
 * Extensions that are the same in all certificates of an issuer, written once. A caller must not change what it is given.
 *
 * @param key says which extension and everything that goes into it
 */
export function writtenOnce(key: string, write: () => Buffer): Buffer {
  const before = shared.get(key)
  if (before) return before
  const written = write()
  if (shared.size >= maxShared) shared.clear()
  shared.set(key, written)
  return written
}

/** The issuer's key identifier copied, in the one form that survives re-issuing the issuer. */
export function encodeAuthorityKeyId(keyId: Buffer): Buffer {
  const value = sequence(contextPrimitive(0, keyId))
  return encodeExtension(oids.authorityKeyIdentifier, false, value)
}

export function encodeSubjectAltName(names: readonly GeneralName[], critical: boolean): Buffer {
  if (names.length === 0 || names.length > maxGeneralNames) {
    throw new PkiError('profile', `A subjectAltName has 1 to ${maxGeneralNames} names`)
  }
  const value = sequence(...names.map(encodeGeneralName))
  return encodeExtension(oids.subjectAltName, critical, value)
}

/**
 * DistributionPointName with one URL. The same bytes go into the certificate's CDP and into the CRL's IDP, which
 * are compared bytewise (pki.md P9).
 */
export function encodeDistributionPointName(url: string): Buffer {
  return contextConstructed(0, encodeGeneralName({ type: 'uri', value: url }))
}

export function encodeCrlDistributionPoint(url: string): Buffer {
  return writtenOnce(`crl ${url}`, () =>
    encodeExtension(oids.cRLDistributionPoints, false, distributionPoints(url)),
  )
}

/** Where the deltas to a full CRL are (RFC 5280 §5.2.6); never critical. */
export function encodeFreshestCrl(url: string): Buffer {
  return encodeExtension(oids.freshestCRL, false, distributionPoints(url))
}

function distributionPoints(url: string): Buffer {
  return sequence(sequence(contextConstructed(0, encodeDistributionPointName(url))))
}

/** Where the issuer's certificate is, and where its OCSP responder is when there is one. */
export function encodeAuthorityInfoAccess(caIssuersUrl?: string, ocspUrl?: string): Buffer {
  // No URL has a space in it.
  const key = `access ${caIssuersUrl ?? ''} ${ocspUrl ?? ''}`
  return writtenOnce(key, () => authorityInfoAccess(caIssuersUrl, ocspUrl))
}

function authorityInfoAccess(caIssuersUrl?: string, ocspUrl?: string): Buffer {
  const descriptions: Buffer[] = []
  if (ocspUrl !== undefined) descriptions.push(accessDescription(oids.ocsp, ocspUrl))
  if (caIssuersUrl !== undefined) descriptions.push(accessDescription(oids.caIssuers, caIssuersUrl))
  return encodeExtension(oids.authorityInfoAccess, false, sequence(...descriptions))
}

function accessDescription(method: string, url: string): Buffer {
  return sequence(oid(method), encodeGeneralName({ type: 'uri', value: url }))
}

/** Critical, permitted directoryName subtrees only (pki.md section 4 and T13). */
export function encodeNameConstraints(permittedNames: readonly Buffer[]): Buffer {
  const subtrees = permittedNames.map((value) =>
    sequence(encodeGeneralName({ type: 'directory', value })),
  )
  const value = sequence(contextConstructed(0, ...subtrees))
  return encodeExtension(oids.nameConstraints, true, value)
}
