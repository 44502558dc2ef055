import { fromPem, toPem } from '../pki/pem.ts'
import { verifySignature } from '../pki/signer.ts'
import { type Certificate, parseCertificate } from '../pki/x509/parse.ts'

/** Roots a device trusts at a time: the one it was made with and those that followed. */
const maxRoots = 4
const label = 'CERTIFICATE'

/**
 * Which roots to trust from now on, after a look at what the server gives out (EST cacerts, RFC 7030 §4.1.3). A new root is
 * trusted when it is self-signed and a root that is trusted already certified the same name and key (NewWithOld, RFC 4210
 * §4.4); a place in the list alone means nothing. One that has ended is let go, as long as another one is left.
 *
 * @param pem roots that are trusted now
 * @param given CA certificates in any order, DER
 * @returns PEM
 * @throws PkiError for what is no certificate
 */
export function followRoots(pem: string, given: readonly Buffer[], at: Date): string {
  const certificates = given.map((der) => parseCertificate(der))
  const trusted = fromPem(pem, label).map((der) => parseCertificate(der))
  // A root that came by another one may lead to the next.
  for (const root of trusted) {
    for (const next of certificates) {
      const isKnown = trusted.some((one) => isSame(one, next))
      if (trusted.length >= maxRoots || isKnown || !isRoot(next, at)) continue
      if (certificates.some((bridge) => leadsTo(bridge, { from: root, to: next, at }))) {
        trusted.push(next)
      }
    }
  }
  const live = trusted.filter((root) => isNow(root, at))
  const kept = live.length > 0 ? live : trusted
  return kept.map(({ der }) => toPem(label, der)).join('')
}

function isSame(a: Certificate, b: Certificate): boolean {
  return a.subject.equals(b.subject) && a.spki.equals(b.spki)
}

function isNow({ notBefore, notAfter }: Certificate, at: Date): boolean {
  return notBefore <= at && at <= notAfter
}

function isAuthority({ isCa, keyUsage }: Certificate): boolean {
  return isCa && (keyUsage?.has('keyCertSign') ?? false)
}

function isRoot(root: Certificate, at: Date): boolean {
  return (
    root.subject.equals(root.issuer) &&
    isAuthority(root) &&
    isNow(root, at) &&
    isSignedBy(root, root)
  )
}

/** NewWithOld: the new root's name and key, certified by the old one while both count. */
function leadsTo(
  bridge: Certificate,
  { from, to, at }: { from: Certificate; to: Certificate; at: Date },
): boolean {
  return (
    isSame(bridge, to) &&
    bridge.issuer.equals(from.subject) &&
    isAuthority(bridge) &&
    isUnbounded(bridge) &&
    isNow(bridge, at) &&
    isNow(from, at) &&
    to.notAfter > from.notAfter &&
    isSignedBy(bridge, from)
  )
}

/**
 * The old root certifies issuers too, with a name and a key of theirs; whoever takes the key of one can sign a root of that name
 * with it. Only what may do all that a root may leads to one (pki.md §4: an issuer has a path length of 0).
 */
function isUnbounded({ basicConstraints, extKeyUsage, nameConstraints }: Certificate): boolean {
  return basicConstraints?.pathLength === undefined && !extKeyUsage && !nameConstraints
}

function isSignedBy(certificate: Certificate, { spki }: Certificate): boolean {
  const { signatureAlgorithm, tbs, signature } = certificate
  return verifySignature(signatureAlgorithm, spki, tbs, signature)
}
