import { hash } from 'node:crypto'

import { readAlgorithm } from '../algorithms.ts'
import { checkDer } from '../der/check.ts'
import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { constructed, tags } from '../der/tags.ts'
import { PkiError } from '../errors.ts'
import { publicKeyOctets } from '../keys.ts'
import { readName } from '../names.ts'
import type {
  AccessDescription,
  BasicConstraints,
  DistributionPoint,
  Extensions,
  KeyUsage,
  NameConstraints,
} from './extensions.ts'
import {
  readAuthorityInfoAccess,
  readAuthorityKeyId,
  readBasicConstraints,
  readDistributionPoints,
  readExtension,
  readExtensions,
  readExtKeyUsage,
  readKeyUsage,
  readNameConstraints,
  readSubjectAltName,
  readSubjectKeyId,
} from './extensions.ts'
import type { GeneralName } from './general-names.ts'

/** What is signed in a certificate. Every Buffer is a slice of the DER that was parsed. */
export interface TbsCertificate {
  readonly tbs: Buffer
  /** Content octets of the serial INTEGER: positive, minimal, 1 to 20. */
  readonly serial: Buffer
  /** AlgorithmIdentifier, DER. */
  readonly signatureAlgorithm: Buffer
  /** Name, DER. Names are compared as bytes. */
  readonly issuer: Buffer
  readonly notBefore: Date
  readonly notAfter: Date
  /** Name, DER. */
  readonly subject: Buffer
  /** SubjectPublicKeyInfo, DER. The key in it is checked by `readPublicKey`, not here. */
  readonly spki: Buffer
  readonly extensions: Extensions
  readonly basicConstraints: BasicConstraints | undefined
  readonly isCa: boolean
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined
  /** Key purposes as dotted text. */
  readonly extKeyUsage: readonly string[] | undefined
  readonly subjectAltName: readonly GeneralName[] | undefined
  readonly subjectKeyId: Buffer | undefined
  readonly authorityKeyId: Buffer | undefined
  readonly crlDistributionPoints: readonly DistributionPoint[] | undefined
  readonly authorityInfoAccess: readonly AccessDescription[] | undefined
  readonly nameConstraints: NameConstraints | undefined
}

export interface Certificate extends TbsCertificate {
  readonly der: Buffer
  readonly signature: Buffer
}

const maxSerialOctets = 20
const version3 = 2

/**
 * Reads a version 3 certificate strictly (RFC 5280 §4.1, pki.md 1.3 and T7): DER to the last leaf, inner and outer
 * algorithm the same bytes, a positive serial of at most 20 octets, no duplicate extension, no trailing
 * bytes. The signature is not verified here.
 *
 * @param der at most 64 KiB
 * @throws PkiError `der` or `certificate`
 */
export function parseCertificate(der: Buffer): Certificate {
  checkDer(der)
  const reader = new DerReader(der)
  const body = reader.enter(tags.sequence)
  reader.finish()
  const tbsElement = body.next(tags.sequence)
  const parsed = readTbs(body.inside(tbsElement), der.subarray(tbsElement.start, tbsElement.end))
  const outerAt = body.offset
  const signatureAlgorithm = readAlgorithm(body)
  const signature = body.bitStringOctets()
  body.finish()
  if (!signatureAlgorithm.equals(parsed.signatureAlgorithm)) {
    throw new PkiError('certificate', 'Inner and outer signature algorithm differ', outerAt)
  }
  return { der, ...parsed, signature }
}

/** Reads a to-be-signed certificate by the same rules. */
export function parseTbs(tbs: Buffer): TbsCertificate {
  checkDer(tbs)
  const reader = new DerReader(tbs)
  const body = reader.enter(tags.sequence)
  reader.finish()
  return readTbs(body, tbs)
}

/** The AlgorithmIdentifier in bytes that `parseTbs` has read or will: a look at their beginning and their end. */
export function signatureAlgorithmIn(tbs: Buffer): Buffer {
  const reader = new DerReader(tbs)
  const body = reader.enter(tags.sequence)
  reader.finish()
  readVersion(body)
  readSerial(body)
  return readAlgorithm(body)
}

/** Lower-case hex SHA-256 of the DER: what a certificate is called everywhere in this system. */
export function fingerprint(der: Buffer): string {
  return hash('sha256', der)
}

function readTbs(body: DerReader, tbs: Buffer): TbsCertificate {
  readVersion(body)
  const serial = readSerial(body)
  const signatureAlgorithm = readAlgorithm(body)
  const issuer = readNameBytes(body)
  const validity = readValidity(body)
  const subject = readNameBytes(body)
  const spki = body.raw(tags.sequence)
  publicKeyOctets(spki)
  // Unique identifiers ([1] and [2]) are not in use (RFC 5280 §4.1.2.8) and fall out as a wrong tag.
  const wrapper = body.enter(constructed(3))
  const extensions = readExtensions(wrapper)
  wrapper.finish()
  body.finish()
  return {
    tbs,
    serial,
    signatureAlgorithm,
    issuer,
    ...validity,
    subject,
    spki,
    extensions,
    ...readKnownExtensions(extensions),
  }
}

function readVersion(body: DerReader): void {
  const start = body.offset
  const wrapper = body.enterOptional(constructed(0))
  const version = wrapper?.smallInteger()
  wrapper?.finish()
  if (version !== version3) {
    throw new PkiError('certificate', 'Only certificates of version 3 are read', start)
  }
}

function readSerial(body: DerReader): Buffer {
  const start = body.offset
  const serial = body.integer()
  const [first = 0] = serial
  const isZero = serial.length === 1 && first === 0
  if (first >= 0x80 || isZero || serial.length > maxSerialOctets) {
    throw new PkiError('certificate', 'The serial is not positive or too long', start)
  }
  return serial
}

/** The bytes of a Name, after a look that it is one. */
function readNameBytes(body: DerReader): Buffer {
  const name = body.raw(tags.sequence)
  readName(name)
  return name
}

function readValidity(body: DerReader): { notBefore: Date; notAfter: Date } {
  const start = body.offset
  const validity = body.enter(tags.sequence)
  const notBefore = validity.time()
  const notAfter = validity.time()
  validity.finish()
  if (notAfter < notBefore) {
    throw new PkiError('certificate', 'The certificate ends before it begins', start)
  }
  return { notBefore, notAfter }
}

function readKnownExtensions(extensions: Extensions) {
  const basicConstraints = readExtension(extensions, oids.basicConstraints, (reader) =>
    readBasicConstraints(reader),
  )
  return {
    basicConstraints,
    isCa: basicConstraints?.isCa ?? false,
    keyUsage: readExtension(extensions, oids.keyUsage, readKeyUsage),
    extKeyUsage: readExtension(extensions, oids.extKeyUsage, readExtKeyUsage),
    subjectAltName: readExtension(extensions, oids.subjectAltName, readSubjectAltName),
    subjectKeyId: readExtension(extensions, oids.subjectKeyIdentifier, readSubjectKeyId),
    authorityKeyId: readExtension(extensions, oids.authorityKeyIdentifier, readAuthorityKeyId),
    crlDistributionPoints: readExtension(
      extensions,
      oids.cRLDistributionPoints,
      readDistributionPoints,
    ),
    authorityInfoAccess: readExtension(
      extensions,
      oids.authorityInfoAccess,
      readAuthorityInfoAccess,
    ),
    nameConstraints: readExtension(extensions, oids.nameConstraints, readNameConstraints),
  }
}
