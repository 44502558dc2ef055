import { signatureAlgorithmOf } from '../algorithms.ts'
import { oids } from '../der/oids.ts'
import { PkiError } from '../errors.ts'
import type { KeyAlgorithm } from '../keys.ts'
import { keyFamilyIn, keyIdentifier, readPublicKey } from '../keys.ts'
import type { AccessDescription, DistributionPoint } from './extensions.ts'
import { lintHttpUrl, lintNames, lintSubject } from './lint-names.ts'
import { nameConstraintViolation } from './name-constraints.ts'
import type { Certificate, TbsCertificate } from './parse.ts'
import { parseTbs } from './parse.ts'
import type { Profile, ProfileName } from './profiles.ts'
import { extKeyUsageValue, isEmptyName, isNoExpiry, profiles } from './profiles.ts'

const dayMs = 86_400_000
/** notBefore lies up to an hour back for devices without a good clock. */
const maxBackDatingMs = 3_600_000
const serialOctets = 16

/** Limits of one product line, within those of the profile: they can only narrow it. */
export interface LintPolicy {
  readonly keyAlgorithms?: readonly KeyAlgorithm[] | undefined
  readonly maxValidityDays?: number | undefined
}

/**
 * The last look before signing (pki.md section 5, step 4): reads the final to-be-signed bytes with the strict parser and
 * compares them with the profile and the issuer. An empty list means that they may be signed.
 *
 * @param issuer the issuer's certificate; absent for a root
 * @returns what is wrong, in words for a log; never throws for the content of `tbs`
 */
export function lintTbs(
  tbs: Buffer,
  profile: ProfileName,
  issuer?: Certificate,
  policy: LintPolicy = {},
): string[] {
  const rules = profiles[profile]
  try {
    const certificate = parseTbs(tbs)
    return [
      ...lintHead(certificate),
      ...lintLifetime(certificate, rules, policy),
      ...lintExtensions(certificate, rules),
      ...lintKey(certificate, rules, policy),
      ...lintNames(certificate, rules),
      ...lintSubject(certificate, rules),
      ...lintLocations(certificate, rules),
      ...(rules.isSelfIssued ? lintRoot(certificate, issuer) : lintIssued(certificate, issuer)),
      ...when(
        profile !== 'cross' && issuer !== undefined && certificate.subject.equals(issuer.subject),
        "The subject is the issuer's own",
      ),
    ]
  } catch (error) {
    if (error instanceof PkiError) return [`The certificate does not parse: ${error.message}`]
    throw error
  }
}

function when(isWrong: boolean, finding: string): string[] {
  return isWrong ? [finding] : []
}

function lintHead({ serial, signatureAlgorithm }: TbsCertificate): string[] {
  return [
    ...when(
      serial.length !== serialOctets || ((serial[0] ?? 0) & 0xc0) !== 0x40,
      'The serial does not have 16 octets that begin with the bits 01',
    ),
    ...when(!signatureAlgorithmOf(signatureAlgorithm), 'The signature algorithm is not allowed'),
  ]
}

function lintLifetime(
  { notBefore, notAfter }: TbsCertificate,
  rules: Profile,
  policy: LintPolicy,
): string[] {
  if (rules.maxValidityDays === 'no-expiry') {
    return when(!isNoExpiry(notAfter), 'The certificate must have no defined end')
  }
  const maxDays = Math.min(rules.maxValidityDays, policy.maxValidityDays ?? rules.maxValidityDays)
  const lifetimeMs = notAfter.getTime() - notBefore.getTime()
  return when(
    // Compared this way round so that a limit that is not a number refuses.
    !(lifetimeMs <= maxDays * dayMs + maxBackDatingMs),
    `The certificate is valid for more than ${maxDays} days`,
  )
}

/** Extensions that may be there, with the criticality each must have. */
function optionalExtensions(rules: Profile): [oid: string, critical: boolean][] {
  const optional: [oid: string, critical: boolean][] = []
  if (rules.locations !== 'none') optional.push([oids.authorityInfoAccess, false])
  if (rules.locations === 'all') optional.push([oids.cRLDistributionPoints, false])
  if (rules.isCa && !rules.isSelfIssued) optional.push([oids.nameConstraints, true])
  return optional
}

function lintExtensions(certificate: TbsCertificate, rules: Profile): string[] {
  const required = requiredExtensions(certificate, rules)
  const allowed = new Map([...required, ...optionalExtensions(rules)])
  const findings = [...required.keys()]
    .filter((oid) => !certificate.extensions.has(oid))
    .map((oid) => `Extension ${oid} is missing`)
  for (const { oid, critical } of certificate.extensions.values()) {
    const mustBeCritical = allowed.get(oid)
    if (mustBeCritical === undefined) findings.push(`Extension ${oid} is not in the profile`)
    else if (mustBeCritical !== critical) findings.push(`Extension ${oid} has wrong criticality`)
  }
  return [...findings, ...lintFixedBytes(certificate, rules)]
}

function requiredExtensions(
  certificate: TbsCertificate,
  rules: Profile,
): ReadonlyMap<string, boolean> {
  const required = new Map<string, boolean>([
    [oids.basicConstraints, true],
    [oids.keyUsage, true],
    [oids.subjectKeyIdentifier, false],
  ])
  if (!rules.isSelfIssued) required.set(oids.authorityKeyIdentifier, false)
  if (rules.extKeyUsage.length > 0) required.set(oids.extKeyUsage, false)
  if (rules.hasNoCheck) required.set(oids.ocspNoCheck, false)
  if (rules.subjectAltName !== 'none') {
    // RFC 5280 §4.2.1.6: critical exactly when the subject is empty.
    required.set(oids.subjectAltName, isEmptyName(certificate.subject))
  }
  return required
}

/** The extensions whose bytes the profile fixes. */
function lintFixedBytes({ extensions, keyUsage }: TbsCertificate, rules: Profile): string[] {
  const enciphers = keyUsage?.has('keyEncipherment') ?? false
  const fixed: [oid: string, hex: string][] = [
    [oids.basicConstraints, rules.basicConstraints],
    [oids.keyUsage, (enciphers && rules.encipheringKeyUsage) || rules.keyUsage],
    [oids.ocspNoCheck, '0500'],
  ]
  if (rules.extKeyUsage.length > 0) {
    fixed.push([oids.extKeyUsage, extKeyUsageValue(rules.extKeyUsage).toString('hex')])
  }
  return fixed
    .filter(([oid, hex]) => {
      const value = extensions.get(oid)?.value
      return value !== undefined && value.toString('hex') !== hex
    })
    .map(([oid]) => `Extension ${oid} differs from the profile`)
}

function lintKey(certificate: TbsCertificate, rules: Profile, policy: LintPolicy): string[] {
  const { spki, subjectKeyId, keyUsage } = certificate
  const { algorithm, family } = readPublicKey(spki)
  const isInPolicy = policy.keyAlgorithms?.some((allowed) => allowed === algorithm) ?? true
  return [
    ...when(
      !rules.keyFamilies.includes(family) || !isInPolicy,
      `Keys of the kind ${algorithm} are not certified here`,
    ),
    // RFC 9881 §5, RFC 8410 §5, RFC 5480 §3: only RSA deciphers by itself.
    ...when(
      family !== 'RSA' && (keyUsage?.has('keyEncipherment') ?? false),
      'The key usage does not fit the key',
    ),
    ...when(
      subjectKeyId !== undefined && !subjectKeyId.equals(keyIdentifier(spki)),
      'The subject key identifier is not that of the key',
    ),
  ]
}

function lintLocations(certificate: TbsCertificate, rules: Profile): string[] {
  const points = certificate.crlDistributionPoints ?? []
  const descriptions = certificate.authorityInfoAccess ?? []
  const methods = descriptions.map(({ method }) => method)
  return [
    ...points.flatMap(lintPoint),
    ...descriptions.flatMap((one) => lintAccess(one, rules)),
    ...when(new Set(methods).size < methods.length, 'An access method appears twice'),
  ]
}

function lintAccess({ method, location }: AccessDescription, rules: Profile): string[] {
  const isKnown = method === oids.caIssuers || (method === oids.ocsp && rules.locations === 'all')
  return [
    ...when(!isKnown, `Access method ${method} is not in the profile`),
    ...(location.type === 'uri' ? lintHttpUrl(location.value) : ['An access location is no URI']),
  ]
}

function lintPoint({ uris, reasons, crlIssuer }: DistributionPoint): string[] {
  return [
    ...when(uris.length === 0, 'A distribution point without a URL'),
    ...when(reasons !== undefined || crlIssuer !== undefined, 'A distribution point with extras'),
    ...uris.flatMap(lintHttpUrl),
  ]
}

function lintRoot(certificate: TbsCertificate, issuer: Certificate | undefined): string[] {
  return [
    ...when(issuer !== undefined, 'A root has no issuer'),
    ...when(!certificate.issuer.equals(certificate.subject), 'A root names another issuer'),
    ...lintAlgorithm(certificate, certificate.spki),
  ]
}

function lintIssued(certificate: TbsCertificate, issuer: Certificate | undefined): string[] {
  if (!issuer) return ['The issuer is not known']
  const { subjectKeyId, nameConstraints } = issuer
  const violation = nameConstraints && nameConstraintViolation(nameConstraints, certificate)
  return [
    ...when(!certificate.issuer.equals(issuer.subject), "The issuer name is not the issuer's"),
    ...when(
      !subjectKeyId || !certificate.authorityKeyId?.equals(subjectKeyId),
      "The authority key identifier is not the issuer's subject key identifier",
    ),
    // A path to a certificate without a defined end is over with its issuer (RFC 5280 §4.1.2.5).
    ...when(
      certificate.notAfter > issuer.notAfter && !isNoExpiry(certificate.notAfter),
      'The certificate outlives its issuer',
    ),
    ...when(
      !issuer.isCa || !(issuer.keyUsage?.has('keyCertSign') ?? false),
      'The issuer may not issue certificates',
    ),
    ...when(
      certificate.isCa && issuer.basicConstraints?.pathLength === 0,
      'The issuer may not issue to a CA',
    ),
    ...when(certificate.spki.equals(issuer.spki), "The key is the issuer's own"),
    ...(violation === undefined ? [] : [violation]),
    ...lintAlgorithm(certificate, issuer.spki),
  ]
}

function lintAlgorithm({ signatureAlgorithm }: TbsCertificate, issuerSpki: Buffer): string[] {
  const family = keyFamilyIn(issuerSpki)
  const families = signatureAlgorithmOf(signatureAlgorithm)?.families ?? []
  return when(!families.includes(family), "The signature algorithm does not fit the issuer's key")
}
