import { checkDer } from '../der/check.ts'
import { DerReader } from '../der/reader.ts'
import { constructed, primitive, tags } from '../der/tags.ts'
import { contextPrimitive, integer, sequence } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import { publicKeyOctets } from '../keys.ts'
import { readName } from '../names.ts'

/** SignerIdentifier and RecipientIdentifier (RFC 5652 §5.3 and §6.2.1): which certificate, or which key. */
export type CertificateId =
  | {
      readonly kind: 'issuer-and-serial'
      /** Name, DER. */
      readonly issuer: Buffer
      /** Content octets of the serial INTEGER. */
      readonly serial: Buffer
    }
  | { readonly kind: 'key-id'; readonly keyId: Buffer }

/** What CMS needs of a certificate. Every Buffer is a slice of the DER. */
export interface CertificateHead {
  readonly serial: Buffer
  readonly issuer: Buffer
  readonly subject: Buffer
  readonly spki: Buffer
}

const maxSerialOctets = 20
const maxKeyIdOctets = 64

export function encodeCertificateId(id: CertificateId): Buffer {
  switch (id.kind) {
    case 'issuer-and-serial':
      return sequence(id.issuer, integer(id.serial))
    case 'key-id':
      return contextPrimitive(0, id.keyId)
    default:
      throw new PkiError('cms', 'Unknown kind of identifier')
  }
}

/** Reads one identifier. Throws PkiError `der` or `cms`. */
export function readCertificateId(reader: DerReader): CertificateId {
  if (reader.peek() === primitive(0)) {
    const start = reader.offset
    const keyId = reader.content(primitive(0))
    if (keyId.length === 0 || keyId.length > maxKeyIdOctets) {
      throw new PkiError('cms', 'A key identifier has 1 to 64 octets', start)
    }
    return { kind: 'key-id', keyId }
  }
  return { kind: 'issuer-and-serial', ...readIssuerAndSerial(reader) }
}

/** IssuerAndSerialNumber (RFC 5652 §10.2.4). Throws PkiError `der` or `cms`. */
export function readIssuerAndSerial(reader: DerReader): { issuer: Buffer; serial: Buffer } {
  const body = reader.enter(tags.sequence)
  const issuer = body.raw(tags.sequence)
  readName(issuer)
  const serial = readSerial(body)
  body.finish()
  return { issuer, serial }
}

/** Whether both name the same certificate or key. Names are compared as bytes. */
export function isSameId(one: CertificateId, other: CertificateId): boolean {
  return encodeCertificateId(one).equals(encodeCertificateId(other))
}

/**
 * Serial, names and key of a certificate of version 1 or 3. The certificate a device makes for itself to sign a first
 * request has often no extensions, so `parseCertificate` would refuse it. Nothing here says that it is valid.
 *
 * @param der at most 64 KiB
 * @throws PkiError `der` or `cms`
 */
export function readCertificateHead(der: Buffer): CertificateHead {
  checkDer(der)
  const reader = new DerReader(der)
  const outer = reader.enter(tags.sequence)
  reader.finish()
  const body = outer.enter(tags.sequence)
  body.enterOptional(constructed(0))
  const serial = readSerial(body)
  body.next(tags.sequence)
  const issuer = body.raw(tags.sequence)
  readName(issuer)
  body.next(tags.sequence)
  const subject = body.raw(tags.sequence)
  readName(subject)
  const spki = body.raw(tags.sequence)
  publicKeyOctets(spki)
  return { serial, issuer, subject, spki }
}

/** The identifier every implementation understands. */
export function idOfCertificate(der: Buffer): CertificateId {
  const { issuer, serial } = readCertificateHead(der)
  return { kind: 'issuer-and-serial', issuer, serial }
}

function readSerial(body: DerReader): Buffer {
  const start = body.offset
  const serial = body.integer()
  if ((serial[0] ?? 0) >= 0x80 || serial.length > maxSerialOctets) {
    throw new PkiError('cms', 'The serial is negative or too long', start)
  }
  return serial
}
