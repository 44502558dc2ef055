import { readAlgorithm } from '../algorithms.ts'
import { checkDer } from '../der/check.ts'
import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { constructed, primitive, tags } from '../der/tags.ts'
import { decodeBoolean } from '../der/values.ts'
import { PkiError } from '../errors.ts'
import { readName } from '../names.ts'
import { verifySignature } from '../signer.ts'
import type { Extensions } from '../x509/extensions.ts'
import {
  readAuthorityKeyId,
  readDistributionPointName,
  readDistributionPoints,
  readExtension,
  readExtensions,
} from '../x509/extensions.ts'
import type { Certificate } from '../x509/parse.ts'
import { crlReasons } from './revocation.ts'

export interface IssuingDistributionPoint {
  /** The whole extension value; a delta repeats that of its base. */
  readonly der: Buffer
  /** DistributionPointName, DER; the bytes of the certificates' CDP. */
  readonly name: Buffer | undefined
  readonly uris: readonly string[]
  readonly onlyUserCertificates: boolean
  readonly onlyCaCertificates: boolean
}

/** Every Buffer is a slice of the DER that was parsed. */
export interface Crl {
  readonly der: Buffer
  readonly tbs: Buffer
  readonly signatureAlgorithm: Buffer
  readonly issuer: Buffer
  readonly thisUpdate: Date
  readonly nextUpdate: Date
  readonly number: bigint
  /** Number of the CRL this one is a delta to. */
  readonly baseNumber: bigint | undefined
  readonly authorityKeyId: Buffer | undefined
  readonly issuingDistributionPoint: IssuingDistributionPoint | undefined
  /** Where the deltas to this CRL are. */
  readonly freshestUrls: readonly string[]
  /** The entries one after the other, DER; read them with `crlEntries`. */
  readonly entries: Buffer
  readonly entryCount: number
  readonly signature: Buffer
}

export interface CrlEntry {
  readonly serial: Buffer
  readonly revokedAt: Date
  readonly reason: number
}

const defaultMaxBytes = 64 * 1024 * 1024
const maxNumberOctets = 20

/**
 * Reads a version 2 CRL strictly (RFC 5280 §5.1), every entry included. A critical extension that is not understood is
 * refused, as §5.2 demands; so are indirect CRLs. The signature is verified by `verifyCrl`.
 *
 * @throws PkiError `der` or `crl`
 */
export function parseCrl(der: Buffer, maxBytes: number = defaultMaxBytes): Crl {
  checkDer(der, { maxBytes })
  const reader = new DerReader(der, { maxBytes })
  const body = reader.enter(tags.sequence)
  reader.finish()
  const tbsElement = body.next(tags.sequence)
  const algorithmAt = body.offset
  const signatureAlgorithm = readAlgorithm(body)
  const signature = body.bitStringOctets()
  body.finish()
  const read = readTbs(body.inside(tbsElement))
  if (!read.innerAlgorithm.equals(signatureAlgorithm)) {
    throw new PkiError('crl', 'Inner and outer signature algorithm differ', algorithmAt)
  }
  const { innerAlgorithm: _, ...fields } = read
  const tbs = der.subarray(tbsElement.start, tbsElement.end)
  const crl = { der, tbs, signatureAlgorithm, signature, ...fields, entryCount: 0 }
  return { ...crl, entryCount: countEntries(crl) }
}

/** Whether the issuer made this CRL and may: same name bytes, cRLSign, and the signature verifies. */
export function verifyCrl(crl: Crl, issuer: Certificate): boolean {
  return (
    crl.issuer.equals(issuer.subject) &&
    (issuer.keyUsage?.has('cRLSign') ?? false) &&
    verifySignature(crl.signatureAlgorithm, issuer.spki, crl.tbs, crl.signature)
  )
}

/** The entries in order. Nothing is kept, so a long CRL costs no memory. */
export function* crlEntries(crl: Pick<Crl, 'entries'>): Generator<CrlEntry, void, undefined> {
  const list = new DerReader(crl.entries, { maxBytes: crl.entries.length })
  while (!list.isDone()) yield readEntry(list)
}

/** The entry for a serial (as in `Certificate.serial`), or undefined. */
export function findRevoked(crl: Crl, serial: Buffer): CrlEntry | undefined {
  for (const entry of crlEntries(crl)) if (entry.serial.equals(serial)) return entry
  return undefined
}

function countEntries(crl: Pick<Crl, 'entries' | 'baseNumber'>): number {
  let count = 0
  for (const { reason } of crlEntries(crl)) {
    if (reason === crlReasons.removeFromCRL && crl.baseNumber === undefined) {
      throw new PkiError('crl', 'Only a delta removes from the CRL')
    }
    count += 1
  }
  return count
}

function readTbs(body: DerReader) {
  const start = body.offset
  if (body.smallInteger() !== 1) throw new PkiError('crl', 'Only CRLs of version 2 are read', start)
  const innerAlgorithm = readAlgorithm(body)
  const issuer = body.raw(tags.sequence)
  readName(issuer)
  const thisUpdate = body.time()
  const nextUpdate = body.time()
  const entries = readEntryBytes(body)
  const wrapper = body.enter(constructed(0))
  const extensions = readExtensions(wrapper)
  wrapper.finish()
  body.finish()
  if (nextUpdate <= thisUpdate) throw new PkiError('crl', 'The CRL ends before it begins', start)
  return { innerAlgorithm, issuer, thisUpdate, nextUpdate, entries, ...readKnown(extensions) }
}

function readEntryBytes(body: DerReader): Buffer {
  if (body.peek() !== tags.sequence) return Buffer.alloc(0)
  const { offset } = body
  const entries = body.content(tags.sequence)
  if (entries.length === 0) throw new PkiError('crl', 'An empty list of revoked', offset)
  return entries
}

function readKnown(extensions: Extensions) {
  const known: readonly string[] = [oids.issuingDistributionPoint, oids.deltaCRLIndicator]
  for (const { oid, critical, offset } of extensions.values()) {
    // §5.2.4 and §5.2.5: these two are always critical, and all others that we know never are.
    if (critical !== known.includes(oid)) {
      throw new PkiError('crl', `CRL extension ${oid} has wrong or unknown criticality`, offset)
    }
  }
  const number = readExtension(extensions, oids.cRLNumber, readNumber)
  if (number === undefined) throw new PkiError('crl', 'The CRL has no number')
  const baseNumber = readExtension(extensions, oids.deltaCRLIndicator, readNumber)
  const freshest = readExtension(extensions, oids.freshestCRL, readDistributionPoints)
  if (baseNumber !== undefined && (freshest || baseNumber > number)) {
    throw new PkiError('crl', 'A delta to a later CRL, or with deltas of its own')
  }
  return {
    number,
    baseNumber,
    freshestUrls: freshest?.flatMap(({ uris }) => uris) ?? [],
    authorityKeyId: readExtension(extensions, oids.authorityKeyIdentifier, readAuthorityKeyId),
    issuingDistributionPoint: readExtension(
      extensions,
      oids.issuingDistributionPoint,
      readIssuingDistributionPoint,
    ),
  }
}

function readNumber(reader: DerReader): bigint {
  const { offset } = reader
  const content = reader.integer()
  if ((content[0] ?? 0) >= 0x80 || content.length > maxNumberOctets) {
    throw new PkiError('crl', 'A CRL number is negative or too long', offset)
  }
  return BigInt(`0x${content.toString('hex')}`)
}

/** RFC 5280 §5.2.5. Reasons, indirect CRLs and attribute certificates are refused. */
function readIssuingDistributionPoint(reader: DerReader): IssuingDistributionPoint {
  const element = reader.next(tags.sequence)
  const body = reader.inside(element)
  const point = readDistributionPointName(body)
  const onlyUserCertificates = readFlag(body, 1)
  const onlyCaCertificates = readFlag(body, 2)
  const { offset } = body
  if (!body.isDone()) throw new PkiError('crl', 'A kind of CRL that is not understood', offset)
  if (onlyUserCertificates && onlyCaCertificates) {
    throw new PkiError('crl', 'Only users and only CAs at once', offset)
  }
  const der = reader.buffer.subarray(element.start, element.end)
  return { der, ...point, onlyUserCertificates, onlyCaCertificates }
}

/** `[number] BOOLEAN DEFAULT FALSE`. */
function readFlag(body: DerReader, number: number): boolean {
  if (body.peek() !== primitive(number)) return false
  const { offset } = body
  if (!decodeBoolean(body.content(primitive(number)), offset)) {
    throw new PkiError('der', 'A DEFAULT value is written out', offset)
  }
  return true
}

function readEntry(list: DerReader): CrlEntry {
  const start = list.offset
  const body = list.enter(tags.sequence)
  const serial = body.integer()
  const revokedAt = body.time()
  const reason = body.isDone() ? 0 : readReason(readExtensions(body))
  body.finish()
  if ((serial[0] ?? 0) >= 0x80 || serial.length > maxNumberOctets) {
    throw new PkiError('crl', 'A serial is negative or too long', start)
  }
  return { serial, revokedAt, reason }
}

function readReason(extensions: Extensions): number {
  for (const { oid, critical, offset } of extensions.values()) {
    if (critical) throw new PkiError('crl', `Critical entry extension ${oid}`, offset)
  }
  return (
    readExtension(extensions, oids.cRLReason, (reader) => {
      const { offset } = reader
      const reason = reader.smallInteger(tags.enumerated)
      // 7 is unused and nothing above 10 is defined (§5.3.1).
      if (reason === 7 || reason > 10) throw new PkiError('crl', 'Unknown reason', offset)
      return reason
    }) ?? 0
  )
}
