import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { tags } from '../der/tags.ts'
import { encodeTime, maxTimeBytes, writeTime } from '../der/time.ts'
import {
  contextConstructed,
  contextPrimitive,
  enumerated,
  header,
  integer,
  sequence,
} from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import type { Signer } from '../signer.ts'
import {
  encodeAuthorityKeyId,
  encodeDistributionPointName,
  encodeExtension,
  encodeFreshestCrl,
} from '../x509/extension-writer.ts'
import { signEnvelope } from '../x509/issue.ts'
import { crlReasons } from './revocation.ts'

export interface RevokedCertificate {
  /** As in `Certificate.serial`. */
  readonly serial: Buffer
  readonly revokedAt: Date
  /** CRLReason (RFC 5280 §5.3.1): 1 to 6, 9 or 10; in a delta also 8. 0 (unspecified) is left out of the CRL. */
  readonly reason?: number | undefined
}

export interface CrlInput {
  /** Subject bytes of the issuer's certificate, copied. */
  readonly issuerName: Buffer
  /** Subject key identifier of the issuer's certificate, copied. */
  readonly issuerKeyId: Buffer
  /** AlgorithmIdentifier, DER: `signer.algorithm`. */
  readonly signatureAlgorithm: Buffer
  /** Strictly increasing per issuer and scope; positive, at most 20 octets. */
  readonly number: bigint
  readonly thisUpdate: Date
  readonly nextUpdate: Date
  /** Each serial once, in any order. */
  readonly revoked: Iterable<RevokedCertificate>
  /** Set for one shard of several: the URL in the certificates' CDP. */
  readonly shard?: { readonly url: string } | undefined
  /** Set for a delta (§5.2.4): `revoked` is what changed since the full CRL of this number, which was published. */
  readonly delta?: { readonly baseNumber: bigint } | undefined
  /** Set in a full CRL that has deltas: where they are (§5.2.6). */
  readonly freshestUrl?: string | undefined
}

const maxEntries = 5_000_000
const maxSerialBytes = 20
/** Header, serial, time and reason of the longest entry, rounded up. */
const maxEntryBytes = 2 + (2 + maxSerialBytes) + maxTimeBytes + 14
const firstCapacity = 65_536

/**
 * A to-be-signed CRL (RFC 5280 §5.1.2). Entries are written straight into one growing buffer: no object and no buffer
 * for each, so that 100,000 of them stay in tens of milliseconds.
 *
 * @throws PkiError `crl` for a bad number, bad times, reason or serial, or more than five million entries
 */
export function buildCrl(input: CrlInput): Buffer {
  if (input.number < 1n || input.number >= 1n << 159n) {
    throw new PkiError('crl', 'A CRL number is positive and has at most 20 octets')
  }
  if (input.nextUpdate <= input.thisUpdate) {
    throw new PkiError('crl', 'The next update must be after this one')
  }
  if (input.delta) checkDelta(input, input.delta.baseNumber)
  const entries = writeEntries(input.revoked, input.delta !== undefined)
  // RFC 5280 §5.1.2.6: the list is absent when it is empty.
  const list = entries.length === 0 ? [] : [header(tags.sequence, entries.length), entries]
  return sequence(
    integer(1),
    input.signatureAlgorithm,
    input.issuerName,
    encodeTime(input.thisUpdate),
    encodeTime(input.nextUpdate),
    ...list,
    contextConstructed(0, sequence(...extensionsOf(input))),
  )
}

/**
 * Signs a to-be-signed CRL, verifying the signature before letting it out. Throws PkiError `crl` when the
 * CRL names another algorithm than the signer's, `key` when the signature does not verify.
 */
export async function signCrl(tbs: Buffer, signer: Signer): Promise<Buffer> {
  const body = new DerReader(tbs, { maxBytes: tbs.length }).enter(tags.sequence)
  body.next(tags.integer)
  if (!body.raw(tags.sequence).equals(signer.algorithm)) {
    throw new PkiError('crl', 'The signer uses another algorithm than the CRL says')
  }
  return await signEnvelope(tbs, signer)
}

function checkDelta({ number, freshestUrl }: CrlInput, baseNumber: bigint): void {
  if (baseNumber < 1n || baseNumber >= number) {
    throw new PkiError('crl', 'A delta follows a CRL of a lower number')
  }
  if (freshestUrl !== undefined) {
    throw new PkiError('crl', 'A delta does not point to further deltas')
  }
}

function extensionsOf({ issuerKeyId, number, ...input }: CrlInput): Buffer[] {
  const extensions = [
    encodeAuthorityKeyId(issuerKeyId),
    encodeExtension(oids.cRLNumber, false, integer(number)),
  ]
  if (input.delta) {
    const baseNumber = integer(input.delta.baseNumber)
    extensions.push(encodeExtension(oids.deltaCRLIndicator, true, baseNumber))
  }
  if (input.shard) {
    const point = contextConstructed(0, encodeDistributionPointName(input.shard.url))
    const onlyUserCertificates = contextPrimitive(1, Buffer.from([0xff]))
    const value = sequence(point, onlyUserCertificates)
    extensions.push(encodeExtension(oids.issuingDistributionPoint, true, value))
  }
  if (input.freshestUrl !== undefined) extensions.push(encodeFreshestCrl(input.freshestUrl))
  return extensions
}

function writeEntries(revoked: Iterable<RevokedCertificate>, isDelta: boolean): Buffer {
  let target = Buffer.allocUnsafe(firstCapacity)
  let end = 0
  let count = 0
  for (const entry of revoked) {
    count += 1
    if (count > maxEntries) throw new PkiError('crl', `More than ${maxEntries} entries`)
    if (target.length - end < maxEntryBytes) {
      const larger = Buffer.allocUnsafe(target.length * 2)
      target.copy(larger, 0, 0, end)
      target = larger
    }
    if (entry.reason === crlReasons.removeFromCRL && !isDelta) {
      throw new PkiError('crl', 'Only a delta removes from the CRL')
    }
    end = writeEntry(target, end, entry)
  }
  return target.subarray(0, end)
}

function writeEntry(target: Buffer, start: number, entry: RevokedCertificate): number {
  // An entry is shorter than 128 octets, so its length octet is filled in afterwards.
  target[start] = tags.sequence
  let end = writeSerial(target, start + 2, entry.serial)
  end = writeTime(target, end, entry.revokedAt)
  const { reason = 0 } = entry
  if (reason !== 0) {
    const bytes = reasonExtensions.get(reason)
    if (!bytes) throw new PkiError('crl', `Reason ${reason} does not belong in a CRL`)
    end += bytes.copy(target, end)
  }
  target[start + 1] = end - start - 2
  return end
}

function writeSerial(target: Buffer, start: number, serial: Buffer): number {
  const [first = 0] = serial
  if (serial.length > maxSerialBytes) throw new PkiError('crl', 'A serial is too long')
  if (first > 0 && first < 0x80) {
    target[start] = tags.integer
    target[start + 1] = serial.length
    return start + 2 + serial.copy(target, start + 2)
  }
  const encoded = integer(serial)
  if (serial.every((octet) => octet === 0) || encoded.length > maxSerialBytes + 2) {
    throw new PkiError('crl', 'A serial is zero or too long')
  }
  return start + encoded.copy(target, start)
}

/** crlEntryExtensions with the reason, by reason; 0 is left out and 7 does not exist (§5.3.1). */
const reasonExtensions = new Map(
  [1, 2, 3, 4, 5, 6, 8, 9, 10].map((reason) => [
    reason,
    sequence(encodeExtension(oids.cRLReason, false, enumerated(reason))),
  ]),
)
