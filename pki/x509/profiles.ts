import { oids } from '../der/oids.ts'
import { tags } from '../der/tags.ts'
import { encodeTime } from '../der/time.ts'
import { contextConstructed, integer, oid, sequence, tlv } from '../der/writer.ts'
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
} from './extension-writer.ts'
import type { GeneralName } from './general-names.ts'

export type ProfileName = 'root' | 'issuing' | 'server' | 'device'

/** A certificate profile (pki.md section 4) as data. Values are the DER of the extension's type, in hex. */
export interface Profile {
  readonly isCa: boolean
  readonly isSelfIssued: boolean
  readonly basicConstraints: string
  readonly keyUsage: string
  /** Dotted text; none means no extension, never an empty one. */
  readonly extKeyUsage: readonly string[]
  /** Which names the subjectAltName holds; `none` means no extension. */
  readonly subjectAltName: 'none' | 'identity' | 'hosts'
  /** Longest time from notBefore to notAfter, back-dating excluded. */
  readonly maxValidityDays: number
}

const leaf = { isCa: false, isSelfIssued: false, basicConstraints: '3000', keyUsage: '03020780' }

export const profiles: Readonly<Record<ProfileName, Profile>> = {
  root: {
    isCa: true,
    isSelfIssued: true,
    basicConstraints: '30030101ff',
    keyUsage: '03020106',
    extKeyUsage: [],
    subjectAltName: 'none',
    maxValidityDays: 25 * 366,
  },
  issuing: {
    isCa: true,
    isSelfIssued: false,
    basicConstraints: '30060101ff020100',
    keyUsage: '03020106',
    extKeyUsage: [],
    subjectAltName: 'none',
    maxValidityDays: 10 * 366,
  },
  server: {
    ...leaf,
    extKeyUsage: [oids.serverAuth, oids.cmcRA],
    subjectAltName: 'hosts',
    maxValidityDays: 90,
  },
  device: {
    ...leaf,
    extKeyUsage: [oids.clientAuth],
    subjectAltName: 'identity',
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
  readonly crlUrl?: string | undefined
  /** Where the issuer's certificate can be fetched. */
  readonly aiaUrl?: string | undefined
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
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(deviceId)) {
    throw new PkiError('profile', 'A device id is a lower-case UUID')
  }
  return { type: 'uri', value: `urn:uuid:${deviceId}` }
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
  if (rules.isSelfIssued && (input.crlUrl ?? input.aiaUrl) !== undefined) {
    throw new PkiError('profile', `Profile ${name} points to no CRL and no issuer`)
  }
}

function extensionsOf(rules: Profile, input: TbsInput): Buffer[] {
  const extensions = [
    encodeExtension(oids.basicConstraints, true, Buffer.from(rules.basicConstraints, 'hex')),
    encodeExtension(oids.keyUsage, true, Buffer.from(rules.keyUsage, 'hex')),
  ]
  if (rules.extKeyUsage.length > 0) {
    const value = extKeyUsageValue(rules.extKeyUsage)
    extensions.push(encodeExtension(oids.extKeyUsage, false, value))
  }
  extensions.push(encodeSubjectKeyId(keyIdentifier(input.spki)))
  if (input.issuer) extensions.push(encodeAuthorityKeyId(input.issuer.keyId))
  if (input.san && input.san.length > 0) {
    extensions.push(encodeSubjectAltName(input.san, isEmptyName(input.subject)))
  }
  if (input.permittedNames) extensions.push(encodeNameConstraints(input.permittedNames))
  if (input.crlUrl !== undefined) extensions.push(encodeCrlDistributionPoint(input.crlUrl))
  if (input.aiaUrl !== undefined) extensions.push(encodeAuthorityInfoAccess(input.aiaUrl))
  return extensions
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
