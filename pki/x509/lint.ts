import { signatureAlgorithmOf } from '../algorithms.ts'
import { oids } from '../der/oids.ts'
import { PkiError } from '../errors.ts'
import { keyFamilyIn, keyIdentifier, readPublicKey } from '../keys.ts'
import type { DistributionPoint } from './extensions.ts'
import { lintHttpUrl, lintNames, lintSubject } from './lint-names.ts'
import { nameConstraintViolation } from './name-constraints.ts'
import type { Certificate, TbsCertificate } from './parse.ts'
import { parseTbs } from './parse.ts'
import type { Profile, ProfileName } from './profiles.ts'
import { extKeyUsageValue, isEmptyName, profiles } from './profiles.ts'

const dayMs = 86_400_000
/** notBefore lies up to an hour back for devices without a good clock. */
const maxBackDatingMs = 3_600_000
const serialOctets = 16

/**
 * The last look before signing (pki.md section 5, step 4): reads the final to-be-signed bytes with the strict parser and
 * compares them with the profile and the issuer. An empty list means that they may be signed.
 *
 * @param issuer the issuer's certificate; absent for a root
 * @returns what is wrong, in words for a log; never throws for the content of `tbs`
 */
export function lintTbs(tbs: Buffer, profile: ProfileName, issuer?: Certificate): string[] {
  const rules = profiles[profile]
  try {
    const certificate = parseTbs(tbs)
    return [
      ...lintHead(certificate, rules),
      ...lintExtensions(certificate, rules),
      ...lintKey(certificate),
      ...lintNames(certificate, rules),
      ...lintSubject(certificate, rules),
      ...lintLocations(certificate),
      ...(rules.isSelfIssued ? lintRoot(certificate, issuer) : lintIssued(certificate, issuer)),
    ]
  } catch (error) {
    if (error instanceof PkiError) return [`The certificate does not parse: ${error.message}`]
    throw error
  }
}

function when(isWrong: boolean, finding: string): string[] {
  return isWrong ? [finding] : []
}

function lintHead(certificate: TbsCertificate, rules: Profile): string[] {
  const { serial, signatureAlgorithm, notBefore, notAfter } = certificate
  const lifetimeMs = notAfter.getTime() - notBefore.getTime()
  return [
    ...when(
      serial.length !== serialOctets || ((serial[0] ?? 0) & 0xc0) !== 0x40,
      'The serial does not have 16 octets that begin with the bits 01',
    ),
    ...when(!signatureAlgorithmOf(signatureAlgorithm), 'The signature algorithm is not allowed'),
    ...when(
      lifetimeMs > rules.maxValidityDays * dayMs + maxBackDatingMs,
      `The certificate is valid for more than ${rules.maxValidityDays} days`,
    ),
  ]
}

/** Extensions that may be there, with the criticality each must have. */
const optionalExtensions: ReadonlyMap<string, boolean> = new Map([
  [oids.cRLDistributionPoints, false],
  [oids.authorityInfoAccess, false],
])

function lintExtensions(certificate: TbsCertificate, rules: Profile): string[] {
  const required = requiredExtensions(certificate, rules)
  const allowed = new Map([...required, ...(rules.isSelfIssued ? [] : optionalExtensions)])
  if (rules.isCa && !rules.isSelfIssued) allowed.set(oids.nameConstraints, true)
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
  if (rules.subjectAltName !== 'none') {
    // RFC 5280 §4.2.1.6: critical exactly when the subject is empty.
    required.set(oids.subjectAltName, isEmptyName(certificate.subject))
  }
  return required
}

/** The extensions whose bytes the profile fixes. */
function lintFixedBytes({ extensions }: TbsCertificate, rules: Profile): string[] {
  const fixed: [oid: string, hex: string][] = [
    [oids.basicConstraints, rules.basicConstraints],
    [oids.keyUsage, rules.keyUsage],
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

function lintKey({ spki, subjectKeyId }: TbsCertificate): string[] {
  readPublicKey(spki)
  return when(
    subjectKeyId !== undefined && !subjectKeyId.equals(keyIdentifier(spki)),
    'The subject key identifier is not that of the key',
  )
}

function lintLocations(certificate: TbsCertificate): string[] {
  const points = certificate.crlDistributionPoints ?? []
  const descriptions = certificate.authorityInfoAccess ?? []
  return [
    ...points.flatMap(lintPoint),
    ...descriptions.flatMap(({ location }) =>
      location.type === 'uri' ? lintHttpUrl(location.value) : ['An access location is no URI'],
    ),
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
    ...when(certificate.notAfter > issuer.notAfter, 'The certificate outlives its issuer'),
    ...when(
      !issuer.isCa || !(issuer.keyUsage?.has('keyCertSign') ?? false),
      'The issuer may not issue certificates',
    ),
    ...when(
      certificate.isCa && issuer.basicConstraints?.pathLength === 0,
      'The issuer may not issue to a CA',
    ),
    ...when(certificate.spki.equals(issuer.spki), "The key is the issuer's own"),
    ...when(certificate.subject.equals(issuer.subject), "The subject is the issuer's own"),
    ...(violation === undefined ? [] : [violation]),
    ...lintAlgorithm(certificate, issuer.spki),
  ]
}

function lintAlgorithm({ signatureAlgorithm }: TbsCertificate, issuerSpki: Buffer): string[] {
  const family = keyFamilyIn(issuerSpki)
  const families = signatureAlgorithmOf(signatureAlgorithm)?.families ?? []
  return when(!families.includes(family), "The signature algorithm does not fit the issuer's key")
}
