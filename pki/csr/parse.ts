import { readAlgorithm } from '../algorithms.ts'
import { checkDer } from '../der/check.ts'
import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { constructed, tags } from '../der/tags.ts'
import { PkiError } from '../errors.ts'
import type { PublicKey } from '../keys.ts'
import { readPublicKey } from '../keys.ts'
import { readName } from '../names.ts'
import { verifyWithKey } from '../signer.ts'
import type { Extensions } from '../x509/extensions.ts'
import {
  readBasicConstraints,
  readExtension,
  readExtensions,
  readKeyUsage,
  readSubjectAltName,
} from '../x509/extensions.ts'
import type { GeneralName } from '../x509/general-names.ts'

/** What a request says. Every Buffer is a slice of the DER that was parsed. */
export interface CsrContent {
  readonly der: Buffer
  /** Name, DER. */
  readonly subject: Buffer
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Buffer
  /** The content of each attribute's set of values, by type. */
  readonly attributes: ReadonlyMap<string, Buffer>
  /** Names asked for; a hint that has to match the device's record, never copied. */
  readonly subjectAltName: readonly GeneralName[] | undefined
  readonly requestedExtensions: Extensions
  /** Whether CA:TRUE or keyCertSign is asked for. */
  readonly asksForCa: boolean
  readonly challengePassword: string | undefined
  /** Offsets of deviations that field devices make and that are only worth a log line. */
  readonly deviations: readonly number[]
}

/** A request whose signature was verified. */
export interface Csr extends CsrContent {
  readonly publicKey: PublicKey
}

export const maxCsrBytes = 65_536
const maxAttributes = 64
/** RFC 2985 §5.4.1: ub-pkcs9-challengePassword. */
const maxChallengeLength = 255

/**
 * Reads and verifies a PKCS #10 request (RFC 2986) strictly: version 0, DER to the last leaf, the key and both algorithms
 * byte for byte on our lists, no attribute or extension twice, no trailing bytes, and the signature made by the key
 * in it. Only the order of a SET OF and a DEFAULT written out are tolerated, and reported.
 *
 * @param der at most 64 KiB
 * @throws PkiError `der` for malformed DER, `key` for a key that is refused, `csr` for everything else
 */
export function parseCsr(der: Buffer): Csr {
  const { content, algorithm, signed, signature } = readCsr(der)
  const publicKey = readPublicKey(content.spki)
  if (!verifyWithKey(algorithm, publicKey, signed, signature)) {
    throw new PkiError('csr', 'The signature does not verify with the key in the request')
  }
  return { ...content, publicKey }
}

/**
 * Reads a request by the same rules without a look at its key and signature, for key generation on the server, where both mean
 * nothing (RFC 7030 §4.4.1). Nothing in it is proven.
 */
export function parseUnprovenCsr(der: Buffer): CsrContent {
  return readCsr(der).content
}

function readCsr(der: Buffer) {
  if (der.length > maxCsrBytes) throw new PkiError('csr', `More than ${maxCsrBytes} bytes`, 0)
  const deviations = checkDer(der, { setOrder: 'report' })
  const reader = new DerReader(der)
  const body = reader.enter(tags.sequence)
  reader.finish()
  const infoElement = body.next(tags.sequence)
  const algorithm = readAlgorithm(body)
  const signature = body.bitStringOctets()
  body.finish()

  const info = body.inside(infoElement)
  const { subject, spki } = readHead(info)
  const attributes = readAttributes(info)
  const requestedExtensions = readRequestedExtensions(attributes, (at) => deviations.push(at))
  const content: CsrContent = {
    der,
    subject,
    spki,
    attributes: new Map([...attributes].map(([type, { content: set }]) => [type, set])),
    requestedExtensions,
    deviations,
    subjectAltName: readExtension(requestedExtensions, oids.subjectAltName, readSubjectAltName),
    asksForCa: asksForCa(requestedExtensions),
    challengePassword: readChallenge(attributes),
  }
  const signed = der.subarray(infoElement.start, infoElement.end)
  return { content, algorithm, signed, signature }
}

function readHead(info: DerReader): { subject: Buffer; spki: Buffer } {
  const start = info.offset
  if (info.smallInteger() !== 0) throw new PkiError('csr', 'The version must be 0', start)
  const subject = info.raw(tags.sequence)
  readName(subject)
  return { subject, spki: info.raw(tags.sequence) }
}

interface AttributeValues {
  readonly content: Buffer
  readonly values: DerReader
}

/** The values of each attribute, by type. Absent attributes and `A0 00` both occur in the field. */
function readAttributes(info: DerReader): Map<string, AttributeValues> {
  const list = info.enterOptional(constructed(0))
  info.finish()
  const attributes = new Map<string, AttributeValues>()
  while (list && !list.isDone()) {
    const start = list.offset
    if (attributes.size >= maxAttributes) throw new PkiError('csr', 'Too many attributes', start)
    const attribute = list.enter(tags.sequence)
    const type = attribute.oid()
    const set = attribute.next(tags.set)
    attribute.finish()
    if (attributes.has(type)) throw new PkiError('csr', `Attribute ${type} appears twice`, start)
    const content = list.buffer.subarray(set.contentStart, set.end)
    attributes.set(type, { content, values: attribute.inside(set) })
  }
  return attributes
}

function readRequestedExtensions(
  attributes: ReadonlyMap<string, AttributeValues>,
  onDefault: (offset: number) => void,
): Extensions {
  const values = attributes.get(oids.extensionRequest)?.values
  if (!values) return new Map()
  const extensions = readExtensions(values, onDefault)
  values.finish()
  return extensions
}

function asksForCa(extensions: Extensions): boolean {
  const constraints = readExtension(extensions, oids.basicConstraints, (reader) =>
    readBasicConstraints(reader, () => undefined),
  )
  const usages = readExtension(extensions, oids.keyUsage, readKeyUsage)
  return (constraints?.isCa ?? false) || (usages?.has('keyCertSign') ?? false)
}

/** RFC 2985 §5.4.1: one DirectoryString. */
function readChallenge(attributes: ReadonlyMap<string, AttributeValues>): string | undefined {
  const values = attributes.get(oids.challengePassword)?.values
  if (!values) return undefined
  const start = values.offset
  const { value } = values.string()
  values.finish()
  if (value.length === 0 || value.length > maxChallengeLength) {
    throw new PkiError('csr', 'The challengePassword is empty or too long', start)
  }
  return value
}
