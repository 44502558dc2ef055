import { oids } from './der/oids.ts'
import { PkiError } from './errors.ts'
import type { PublicKey } from './keys.ts'
import { readPublicKey } from './keys.ts'
import { verifyWithKey } from './signer.ts'
import { nameConstraintViolation } from './x509/name-constraints.ts'
import type { Certificate } from './x509/parse.ts'
import { parseCertificate } from './x509/parse.ts'
import { policyViolation } from './x509/policies.ts'
import { isEmptyName } from './x509/profiles.ts'

export type PathPurpose = 'clientAuth' | 'serverAuth' | 'codeSigning' | 'ocspSigning'

export type PathFailure =
  | 'malformed'
  | 'too-long'
  | 'no-anchor'
  | 'issuer-name'
  | 'signature'
  | 'not-yet-valid'
  | 'expired'
  | 'not-a-ca'
  | 'path-length'
  | 'name-constraints'
  | 'critical-extension'
  | 'policy'
  | 'purpose'

export type PathVerdict =
  | { readonly valid: true; readonly path: readonly Certificate[]; readonly anchor: Certificate }
  | {
      readonly valid: false
      readonly reason: PathFailure
      /** Place in the chain as given, 0 the leaf; the length of the chain is the anchor. */
      readonly index: number
      readonly detail: string
    }

export interface PathOptions {
  readonly at: Date
  readonly purpose: PathPurpose
}

const maxPathLength = 10
const maxAnchors = 256

/** Extensions this validator acts upon, or that change nothing here; any other critical one fails. */
const processed: ReadonlySet<string> = new Set([
  oids.basicConstraints,
  oids.keyUsage,
  oids.extKeyUsage,
  oids.subjectAltName,
  oids.nameConstraints,
  oids.certificatePolicies,
  oids.policyMappings,
  oids.policyConstraints,
  oids.inhibitAnyPolicy,
  // Key identifiers, AIA and freshestCRL are missing: RFC 5280 forbids to mark them critical.
  oids.cRLDistributionPoints,
  oids.ocspNoCheck,
])

class Refusal extends Error {
  readonly reason: PathFailure
  readonly index: number

  constructor(reason: PathFailure, index: number, detail: string) {
    super(detail)
    this.reason = reason
    this.index = index
  }
}

/**
 * Certification path validation (RFC 5280 §6.1), for certificates whose `authorized` flag Node cannot vouch for (pki.md
 * T1, T6). Revocation is the caller's. Every certificate policy is welcome; constraints in the path are honoured.
 *
 * @param chain leaf first, each certificate issued by the next, DER; may end with the anchor itself. At most 10
 * @param anchors DER; an anchor must be a CA with keyCertSign and be valid at `at`, and matches by subject and key
 */
export function validatePath(
  chain: readonly Buffer[],
  anchors: readonly Buffer[],
  options: PathOptions,
): PathVerdict {
  try {
    return { valid: true, ...validate(chain, anchors, options) }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return { valid: false, reason: error.reason, index: error.index, detail: error.message }
  }
}

function validate(
  chain: readonly Buffer[],
  anchors: readonly Buffer[],
  { at, purpose }: PathOptions,
): { path: Certificate[]; anchor: Certificate } {
  if (chain.length === 0) throw new Refusal('malformed', 0, 'The chain is empty')
  if (chain.length > maxPathLength || anchors.length > maxAnchors) {
    throw new Refusal('too-long', maxPathLength, 'Too many certificates or anchors')
  }
  const given = chain.map((der, index) => parseAt(der, index))
  const trusted = anchors.map((der) => parseAt(der, chain.length))
  const path = withoutAnchor(given, trusted)
  const anchor = anchorOf(path, trusted)
  // From the anchor down, so that nothing below an untrusted certificate is even looked at.
  const down = [...path, anchor]
  for (let index = down.length - 1; index >= 0; index -= 1) {
    checkCertificate(down, index, at, purpose)
  }
  checkPolicies(path)
  return { path, anchor }
}

function parseAt(der: Buffer, index: number): Certificate {
  try {
    return parseCertificate(der)
  } catch (error) {
    if (error instanceof PkiError) throw new Refusal('malformed', index, error.message)
    throw error
  }
}

function isSameEntity(a: Certificate, b: Certificate): boolean {
  return a.subject.equals(b.subject) && a.spki.equals(b.spki)
}

function withoutAnchor(given: Certificate[], trusted: readonly Certificate[]): Certificate[] {
  const last = given.at(-1)
  const endsWithAnchor = last && trusted.some((anchor) => isSameEntity(anchor, last))
  const path = endsWithAnchor ? given.slice(0, -1) : given
  if (path.length === 0) throw new Refusal('no-anchor', 0, 'An anchor is not its own leaf')
  return path
}

/** The anchor that signed the last certificate. Several may share a name after a key change. */
function anchorOf(path: readonly Certificate[], trusted: readonly Certificate[]): Certificate {
  const index = path.length - 1
  const last = certificateAt(path, index)
  const named = trusted.filter((anchor) => anchor.subject.equals(last.issuer))
  if (named.length === 0) throw new Refusal('no-anchor', index, 'No anchor has the issuer name')
  const anchor = named.find((candidate) => isSignedBy(last, candidate))
  if (!anchor) throw new Refusal('signature', index, 'No anchor of that name made the signature')
  return anchor
}

function checkCertificate(
  down: readonly Certificate[],
  index: number,
  time: Date,
  purpose: PathPurpose,
): void {
  const certificate = certificateAt(down, index)
  const isAnchor = index === down.length - 1
  if (!isAnchor) checkIssuer(certificate, certificateAt(down, index + 1), index)
  if (time < certificate.notBefore) throw new Refusal('not-yet-valid', index, 'Not valid yet')
  if (time > certificate.notAfter) throw new Refusal('expired', index, 'Expired')
  checkExtensions(certificate, index)
  if (index === 0) {
    checkLeaf(certificate, purpose)
  } else {
    checkCa(down, index)
    checkPurposeOfCa(certificate, index, purpose)
  }
  checkNames(down, index)
}

function checkIssuer(certificate: Certificate, issuer: Certificate, index: number): void {
  if (!certificate.issuer.equals(issuer.subject)) {
    throw new Refusal('issuer-name', index, 'The issuer name is not the subject of the next one')
  }
  if (!isSignedBy(certificate, issuer)) {
    throw new Refusal('signature', index, 'The signature does not verify with the next key')
  }
}

function isSignedBy(certificate: Certificate, issuer: Certificate): boolean {
  const key = usableKey(issuer)
  if (!key) return false
  return verifyWithKey(certificate.signatureAlgorithm, key, certificate.tbs, certificate.signature)
}

function usableKey({ spki }: Certificate): PublicKey | undefined {
  try {
    return readPublicKey(spki)
  } catch (error) {
    if (error instanceof PkiError) return undefined
    throw error
  }
}

/** §6.1.4 (o) and §6.1.5 (f). */
function checkExtensions({ extensions }: Certificate, index: number): void {
  for (const { oid, critical } of extensions.values()) {
    if (critical && !processed.has(oid)) {
      throw new Refusal('critical-extension', index, `Extension ${oid} is not understood`)
    }
  }
}

/** §6.1.4 (k) to (n); self-issued certificates do not count for the path length. */
function checkCa(down: readonly Certificate[], index: number): void {
  const { isCa, keyUsage, basicConstraints, subject } = certificateAt(down, index)
  // §4.1.2.6: a CA has a name, or else everything without an issuer would be its own.
  if (isEmptyName(subject)) throw new Refusal('malformed', index, 'The issuer has no name')
  if (!isCa) throw new Refusal('not-a-ca', index, 'The issuer is not a CA')
  // Stricter than §6.1.4 (n): an absent keyUsage does not allow it either.
  if (!keyUsage?.has('keyCertSign')) {
    throw new Refusal('not-a-ca', index, 'The issuer lacks keyCertSign')
  }
  const below = down.slice(1, index).filter((one) => !one.issuer.equals(one.subject)).length
  const { pathLength } = basicConstraints ?? {}
  if (pathLength !== undefined && below > pathLength) {
    throw new Refusal('path-length', index, 'More CAs below than the path length allows')
  }
}

const purposeOids: Readonly<Record<PathPurpose, string>> = {
  clientAuth: oids.clientAuth,
  serverAuth: oids.serverAuth,
  codeSigning: oids.codeSigning,
  ocspSigning: oids.ocspSigning,
}

/** An extended key usage in a CA limits what it may issue for; practice, though not in RFC 5280. */
function checkPurposeOfCa({ extKeyUsage }: Certificate, index: number, purpose: PathPurpose): void {
  if (!extKeyUsage || extKeyUsage.includes(oids.anyExtendedKeyUsage)) return
  if (!extKeyUsage.includes(purposeOids[purpose])) {
    throw new Refusal('purpose', index, `The CA may not issue for ${purpose}`)
  }
}

function checkLeaf(leaf: Certificate, purpose: PathPurpose): void {
  if (leaf.isCa) throw new Refusal('purpose', 0, 'A CA certificate is used as a leaf')
  if (!usableKey(leaf)) throw new Refusal('malformed', 0, 'The key is not allowed')
  const { keyUsage, extKeyUsage } = leaf
  // §4.2.1.9 and §4.2.1.10: both are for CAs. Whoever has them in a leaf means something that we do not.
  if (keyUsage?.has('keyCertSign') || leaf.nameConstraints) {
    throw new Refusal('purpose', 0, 'A leaf with keyCertSign or name constraints')
  }
  if (keyUsage && !keyUsage.has('digitalSignature')) {
    throw new Refusal('purpose', 0, 'The key usage lacks digitalSignature')
  }
  const isTls = purpose === 'clientAuth' || purpose === 'serverAuth'
  // Manufacturer certificates (802.1AR) may come without extended key usage; signers may not.
  const isUnlimited = !extKeyUsage || extKeyUsage.includes(oids.anyExtendedKeyUsage)
  if (isTls && isUnlimited) return
  if (!extKeyUsage?.includes(purposeOids[purpose])) {
    throw new Refusal('purpose', 0, `The extended key usage lacks ${purpose}`)
  }
}

function checkPolicies(path: readonly Certificate[]): void {
  try {
    const violation = policyViolation(path)
    if (violation) throw new Refusal('policy', violation.index, violation.detail)
  } catch (error) {
    if (error instanceof PkiError) throw new Refusal('malformed', 0, error.message)
    throw error
  }
}

/** §6.1.3 (b) and (c): constraints of a CA bind everything below it but self-issued intermediates. */
function checkNames(down: readonly Certificate[], index: number): void {
  const certificate = certificateAt(down, index)
  const isSelfIssued = certificate.issuer.equals(certificate.subject)
  if (isSelfIssued && index > 0) return
  for (const { nameConstraints } of down.slice(index + 1)) {
    const violation = nameConstraints && nameConstraintViolation(nameConstraints, certificate)
    if (violation !== undefined) throw new Refusal('name-constraints', index, violation)
  }
}

function certificateAt(path: readonly Certificate[], index: number): Certificate {
  const certificate = path[index]
  if (!certificate) throw new Refusal('malformed', index, 'The chain is empty')
  return certificate
}
