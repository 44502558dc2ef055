import type { KeyFamily } from '../algorithms.ts'
import { oids } from '../der/oids.ts'
import { tags } from '../der/tags.ts'
import { encodeTime } from '../der/time.ts'
import { contextConstructed, integer, nullValue, oid, sequence, tlv } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import { keyIdentifier } from '../keys.ts'
import {
  encodeAuthorityInfoAccess,
  encodeAuthorityKeyId,
  encodeCrlDistributionPoint,
  encodeExtension,
  encodeNameConstraints,
  encodeSubjectAltName,
  encodeSubjectKeyId,
  writtenOnce,
} from './extension-writer.ts'
import type { GeneralName } from './general-names.ts'

export type ProfileName =
  | 'root'
  | 'issuing'
  | 'cross'
  | 'server'
  | 'device'
  | 'claim'
  | 'idevid'
  | 'ocsp-responder'
  | 'metadata-signer'
  | 'scep-ra'

/** A certificate profile (pki.md section 4) as data. Values are the DER of the extension's type, in hex. */
export interface Profile {
  readonly isCa: boolean
  /** The certificate is its own issuer. */
  readonly isSelfIssued: boolean
  readonly basicConstraints: string
  readonly keyUsage: string
  /** keyUsage when the key is RSA and has to decipher too; absent where that is not allowed. */
  readonly encipheringKeyUsage?: string
  /** Dotted text; none means no extension, never an empty one. */
  readonly extKeyUsage: readonly string[]
  /** Which names the subjectAltName holds; `none` means no extension. */
  readonly subjectAltName: 'none' | 'identity' | 'claim' | 'hosts' | 'module'
  /** Kinds of keys that may be certified. */
  readonly keyFamilies: readonly KeyFamily[]
  /** Longest time from notBefore to notAfter, back-dating excluded; or exactly `noExpiry`. */
  readonly maxValidityDays: number | 'no-expiry'
  /** What the certificate may point to: nothing, its issuer, or also a CRL and an OCSP responder. */
  readonly locations: 'none' | 'issuer' | 'all'
  /** Whether id-pkix-ocsp-nocheck is there (RFC 6960 §4.2.2.2.1). */
  readonly hasNoCheck: boolean
}

/** notAfter of a certificate without a defined end (RFC 5280 §4.1.2.5). */
export const noExpiry = new Date('9999-12-31T23:59:59Z')

const caFamilies: readonly KeyFamily[] = ['P-256', 'P-384', 'RSA', 'ML-DSA-65', 'ML-DSA-87']
const leafFamilies: readonly KeyFamily[] = [...caFamilies, 'Ed25519', 'ML-DSA-44']

const ca = {
  isCa: true,
  isSelfIssued: false,
  basicConstraints: '30030101ff',
  keyUsage: '03020106',
  extKeyUsage: [],
  subjectAltName: 'none',
  keyFamilies: caFamilies,
  locations: 'all',
  hasNoCheck: false,
} as const

const leaf = {
  isCa: false,
  isSelfIssued: false,
  basicConstraints: '3000',
  keyUsage: '03020780',
  extKeyUsage: [],
  subjectAltName: 'none',
  keyFamilies: leafFamilies,
  locations: 'all',
  hasNoCheck: false,
} as const

const digitalSignatureAndKeyEncipherment = '030205a0'

export const profiles: Readonly<Record<ProfileName, Profile>> = {
  root: { ...ca, isSelfIssued: true, maxValidityDays: 25 * 366, locations: 'none' },
  issuing: { ...ca, basicConstraints: '30060101ff020100', maxValidityDays: 10 * 366 },
  /** A root certified by another root: OldWithNew and NewWithOld (RFC 4210 §4.4). */
  cross: { ...ca, maxValidityDays: 25 * 366, locations: 'issuer' },
  server: {
    ...leaf,
    extKeyUsage: [oids.serverAuth, oids.cmcRA],
    subjectAltName: 'hosts',
    maxValidityDays: 90,
  },
  device: {
    ...leaf,
    encipheringKeyUsage: digitalSignatureAndKeyEncipherment,
    extKeyUsage: [oids.clientAuth],
    subjectAltName: 'identity',
    maxValidityDays: 398,
  },
  /** Bootstrap: enrolls and does nothing else, and never names a device. */
  claim: {
    ...leaf,
    keyFamilies: ['P-256', 'ML-DSA-44', 'ML-DSA-65'],
    extKeyUsage: [oids.clientAuth],
    subjectAltName: 'claim',
    maxValidityDays: 30,
  },
  /** IEEE 802.1AR: no extended key usage, so that it limits no later use. */
  idevid: {
    ...leaf,
    encipheringKeyUsage: digitalSignatureAndKeyEncipherment,
    subjectAltName: 'module',
    maxValidityDays: 'no-expiry',
  },
  'ocsp-responder': {
    ...leaf,
    extKeyUsage: [oids.ocspSigning],
    maxValidityDays: 30,
    locations: 'issuer',
    hasNoCheck: true,
  },
  'metadata-signer': {
    ...leaf,
    keyFamilies: ['P-256', 'P-384', 'Ed25519', 'ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87'],
    extKeyUsage: [oids.codeSigning],
    maxValidityDays: 3 * 366,
  },
  /** Recipient and signer of SCEP messages (RFC 8894 §2.1.2), which know RSA only. */
  'scep-ra': {
    ...leaf,
    keyUsage: digitalSignatureAndKeyEncipherment,
    keyFamilies: ['RSA'],
    maxValidityDays: 398,
  },
}

/** Everything that varies between certificates of one profile. */
export interface TbsInput {
  /** From `newSerial`. */
  readonly serial: Buffer
  /** Subject bytes and key identifier of the issuer's certificate, copied. Absent for a root. */
  readonly issuer?: { readonly name: Buffer; readonly keyId: Buffer } | undefined
  /** Name, DER. */
  readonly subject: Buffer
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer
  readonly notBefore: Date
  readonly notAfter: Date
  readonly san?: readonly GeneralName[] | undefined
  /** Address of the CRL or, where there are several, of the shard for this serial. */
  readonly crlUrl?: string | undefined
  /** Where the issuer's certificate can be fetched. */
  readonly aiaUrl?: string | undefined
  readonly ocspUrl?: string | undefined
  /** An RSA key that also deciphers, for SCEP clients. */
  readonly keyEncipherment?: boolean | undefined
  /** Permitted directory names, DER; for an issuing CA of one tenant. */
  readonly permittedNames?: readonly Buffer[] | undefined
  /** AlgorithmIdentifier of the issuer's signatures, DER: `signer.algorithm`. */
  readonly signatureAlgorithm: Buffer
}

const serialBytes = 16

/**
 * The to-be-signed bytes of a certificate (RFC 5280 §4.1.2). Nothing but the profile and the input goes in; a request's
 * extensions never reach this function.
 *
 * @throws PkiError `profile` when the input has what the profile excludes or lacks what it needs
 */
export function buildTbs(profile: ProfileName, input: TbsInput): Buffer {
  const rules = profiles[profile]
  checkInput(profile, rules, input)
  const issuerName = input.issuer?.name ?? input.subject
  return sequence(
    contextConstructed(0, integer(2)),
    integer(input.serial),
    input.signatureAlgorithm,
    issuerName,
    sequence(encodeTime(input.notBefore), encodeTime(input.notAfter)),
    input.subject,
    input.spki,
    contextConstructed(3, sequence(...extensionsOf(rules, input))),
  )
}

/** The identity of a device in its certificate: `urn:uuid:<device id>` (RFC 9562 §4, lower case). */
export function deviceIdentity(deviceId: string): GeneralName {
  if (!isUuid(deviceId)) throw new PkiError('profile', 'A device id is a lower-case UUID')
  return { type: 'uri', value: `urn:uuid:${deviceId}` }
}

/** What every claim certificate's URI begins with, and no device identity may. */
export const claimPrefix = 'urn:fleetseal:claim:'

/** The name in a claim certificate: its own record, in a form that no device identity has. */
export function claimIdentity(claimId: string): GeneralName {
  if (!isUuid(claimId)) throw new PkiError('profile', 'A claim id is a lower-case UUID')
  return { type: 'uri', value: `${claimPrefix}${claimId}` }
}

/** RFC 9562 §4, in lower case only. */
export function isUuid(text: string): boolean {
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)
}

function checkInput(name: ProfileName, rules: Profile, input: TbsInput): void {
  if (input.serial.length !== serialBytes || ((input.serial[0] ?? 0) & 0xc0) !== 0x40) {
    throw new PkiError('profile', 'The serial is not one that newSerial gives')
  }
  if (rules.isSelfIssued ? input.issuer : !input.issuer) {
    throw new PkiError('profile', `Profile ${name}: issuer present or absent against the profile`)
  }
  const hasNames = input.san !== undefined && input.san.length > 0
  if (hasNames !== (rules.subjectAltName !== 'none')) {
    throw new PkiError('profile', `Profile ${name}: subjectAltName missing or out of place`)
  }
  if (input.permittedNames && (!rules.isCa || rules.isSelfIssued)) {
    throw new PkiError('profile', `Profile ${name} has no name constraints`)
  }
  if (input.keyEncipherment && rules.encipheringKeyUsage === undefined) {
    throw new PkiError('profile', `Profile ${name} does not encipher`)
  }
  if ((rules.maxValidityDays === 'no-expiry') !== isNoExpiry(input.notAfter)) {
    throw new PkiError('profile', `Profile ${name}: no expiry against the profile`)
  }
  checkLocations(name, rules, input)
}

function checkLocations(name: ProfileName, rules: Profile, input: TbsInput): void {
  if (rules.locations === 'all') return
  const hasStatus = (input.crlUrl ?? input.ocspUrl) !== undefined
  if (hasStatus || (rules.locations === 'none' && input.aiaUrl !== undefined)) {
    throw new PkiError('profile', `Profile ${name} points to no CRL, OCSP responder or issuer`)
  }
}

/** Whether this is the notAfter that means no defined end. */
export function isNoExpiry(notAfter: Date): boolean {
  return notAfter.getTime() === noExpiry.getTime()
}

function extensionsOf(rules: Profile, input: TbsInput): Buffer[] {
  const keyUsage = (input.keyEncipherment && rules.encipheringKeyUsage) || rules.keyUsage
  const extensions = [usesOf(rules, keyUsage)]
  extensions.push(encodeSubjectKeyId(keyIdentifier(input.spki)))
  if (input.issuer) extensions.push(encodeAuthorityKeyId(input.issuer.keyId))
  if (input.san && input.san.length > 0) {
    extensions.push(encodeSubjectAltName(input.san, isEmptyName(input.subject)))
  }
  if (input.permittedNames) extensions.push(encodeNameConstraints(input.permittedNames))
  if (input.crlUrl !== undefined) extensions.push(encodeCrlDistributionPoint(input.crlUrl))
  if ((input.aiaUrl ?? input.ocspUrl) !== undefined) {
    extensions.push(encodeAuthorityInfoAccess(input.aiaUrl, input.ocspUrl))
  }
  if (rules.hasNoCheck) extensions.push(encodeExtension(oids.ocspNoCheck, false, nullValue()))
  return extensions
}

/** What a profile fixes for all its certificates: basicConstraints, keyUsage and extKeyUsage, one after the other. */
function usesOf({ basicConstraints, extKeyUsage }: Profile, keyUsage: string): Buffer {
  const purposes = extKeyUsage.join(' ')
  return writtenOnce(`uses ${basicConstraints} ${keyUsage} ${purposes}`, () => {
    const extensions = [
      encodeExtension(oids.basicConstraints, true, Buffer.from(basicConstraints, 'hex')),
      encodeExtension(oids.keyUsage, true, Buffer.from(keyUsage, 'hex')),
    ]
    if (extKeyUsage.length > 0) {
      extensions.push(encodeExtension(oids.extKeyUsage, false, extKeyUsageValue(extKeyUsage)))
    }
    return Buffer.concat(extensions)
  })
}

/** RFC 5280 §4.2.1.12 value of the extension. */
export function extKeyUsageValue(purposes: readonly string[]): Buffer {
  return sequence(...purposes.map(oid))
}

const emptyName = tlv(tags.sequence)

/** RFC 5280 §4.1.2.6: with an empty subject the names are in a critical subjectAltName. */
export function isEmptyName(name: Buffer): boolean {
  return name.equals(emptyName)
}
