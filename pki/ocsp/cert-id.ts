import { createHash } from 'node:crypto'

import { readAlgorithm } from '../algorithms.ts'
import type { DerReader } from '../der/reader.ts'
import { tags } from '../der/tags.ts'
import { integer, octetString, sequence } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import { publicKeyOctets } from '../keys.ts'
import type { Certificate } from '../x509/parse.ts'

/** The hashes of a CertID that are in use. SHA-1 names an issuer here and protects nothing. */
export type CertIdHash = 'sha1' | 'sha256'

export const certIdHashes: readonly CertIdHash[] = ['sha1', 'sha256']

/** CertID (RFC 6960 §4.1.1). */
export interface CertId {
  /** As it came in; an answer repeats these bytes. */
  readonly der: Buffer
  /** undefined for a hash that we do not know, so that it matches no issuer. */
  readonly hash: CertIdHash | undefined
  readonly issuerNameHash: Buffer
  readonly issuerKeyHash: Buffer
  /** Content octets of the INTEGER, as in `Certificate.serial`. */
  readonly serial: Buffer
}

const maxHashOctets = 64
const maxSerialOctets = 20

/** AlgorithmIdentifiers as hex, with NULL as most clients write them and without (RFC 5754 §2). */
const hashIdentifiers: Readonly<Record<string, CertIdHash>> = {
  '300906052b0e03021a0500': 'sha1',
  '300706052b0e03021a': 'sha1',
  '300d06096086480165030402010500': 'sha256',
  '300b0609608648016503040201': 'sha256',
}

const writtenIdentifiers: Readonly<Record<CertIdHash, Buffer>> = {
  sha1: Buffer.from('300906052b0e03021a0500', 'hex'),
  sha256: Buffer.from('300d06096086480165030402010500', 'hex'),
}

const digestOctets: Readonly<Record<CertIdHash, number>> = { sha1: 20, sha256: 32 }

/** Reads a CertID. Throws PkiError `der`, or `ocsp` for hashes and serials of impossible lengths. */
export function readCertId(reader: DerReader): CertId {
  const element = reader.next(tags.sequence)
  const body = reader.inside(element)
  const identifier = readAlgorithm(body)
  const issuerNameHash = body.content(tags.octetString)
  const issuerKeyHash = body.content(tags.octetString)
  const serial = body.integer()
  body.finish()
  const hash = hashOf(identifier)
  const lengths = [issuerNameHash.length, issuerKeyHash.length]
  const fits = (length: number) =>
    hash ? length === digestOctets[hash] : length > 0 && length <= maxHashOctets
  if (!lengths.every(fits)) {
    throw new PkiError('ocsp', 'An issuer hash of a wrong length', element.start)
  }
  if ((serial[0] ?? 0) >= 0x80 || serial.length > maxSerialOctets) {
    throw new PkiError('ocsp', 'A serial is negative or too long', element.start)
  }
  const der = reader.buffer.subarray(element.start, element.end)
  return { der, hash, issuerNameHash, issuerKeyHash, serial }
}

function hashOf(identifier: Buffer): CertIdHash | undefined {
  if (identifier.length > 16) return undefined
  const hex = identifier.toString('hex')
  return Object.hasOwn(hashIdentifiers, hex) ? hashIdentifiers[hex] : undefined
}

export type IssuerHashes = Readonly<Record<CertIdHash, { name: Buffer; key: Buffer }>>

/** Hashes of the subject name and of the key octets of an issuer; make them once for each issuer. */
export function issuerHashes({
  subject,
  spki,
}: Pick<Certificate, 'subject' | 'spki'>): IssuerHashes {
  const key = publicKeyOctets(spki)
  const both = (hash: CertIdHash) => ({
    name: createHash(hash).update(subject).digest(),
    key: createHash(hash).update(key).digest(),
  })
  return { sha1: both('sha1'), sha256: both('sha256') }
}

/** Whether the CertID names this issuer: the name **and** the key (pki.md section 7). */
export function isOfIssuer(certId: CertId, hashes: IssuerHashes): boolean {
  if (!certId.hash) return false
  const { name, key } = hashes[certId.hash]
  return certId.issuerNameHash.equals(name) && certId.issuerKeyHash.equals(key)
}

/** A CertID, DER. `serial` as in `Certificate.serial`. */
export function encodeCertId(hash: CertIdHash, hashes: IssuerHashes, serial: Buffer): Buffer {
  const { name, key } = hashes[hash]
  return sequence(writtenIdentifiers[hash], octetString(name), octetString(key), integer(serial))
}
