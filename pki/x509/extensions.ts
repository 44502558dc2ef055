import { checkDer } from '../der/check.ts'
import { DerReader } from '../der/reader.ts'
import { constructed, primitive, tags } from '../der/tags.ts'
import { namedBits } from '../der/values.ts'
import { PkiError } from '../errors.ts'
import type { GeneralName } from './general-names.ts'
import { readGeneralName, readGeneralNames } from './general-names.ts'

export interface Extension {
  readonly oid: string
  readonly critical: boolean
  /** Content of extnValue: the DER of the extension's own type. */
  readonly value: Buffer
  /** Where `value` starts in the DER it was read from. */
  readonly offset: number
}

export type Extensions = ReadonlyMap<string, Extension>

/** Told of each place where a DEFAULT value is written out, instead of refusing it. */
export type OnDefault = (offset: number) => void

export const maxExtensions = 64
const maxKeyPurposes = 64
const maxDistributionPoints = 64
const maxSubtrees = 1024

const keyUsages = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const
export type KeyUsage = (typeof keyUsages)[number]

/**
 * Extensions (RFC 5280 §4.1): the SEQUENCE OF inside, each extension once. Throws PkiError `der` for duplicates, for
 * none, for more than 64, and for `critical FALSE` written out unless `onDefault` wants to know of it.
 */
export function readExtensions(
  reader: DerReader,
  onDefault: OnDefault = refuseDefault,
): Extensions {
  const list = reader.enter(tags.sequence)
  const extensions = new Map<string, Extension>()
  do {
    const start = list.offset
    if (extensions.size >= maxExtensions) throw new PkiError('der', 'Too many extensions', start)
    const body = list.enter(tags.sequence)
    const oid = body.oid()
    const critical = readDefaultFalse(body, onDefault)
    const { contentStart, end } = body.next(tags.octetString)
    body.finish()
    if (extensions.has(oid)) throw new PkiError('der', `Extension ${oid} appears twice`, start)
    const value = body.buffer.subarray(contentStart, end)
    extensions.set(oid, { oid, critical, value, offset: contentStart })
  } while (!list.isDone())
  return extensions
}

function refuseDefault(offset: number): void {
  throw new PkiError('der', 'A DEFAULT value is written out', offset)
}

function readDefaultFalse(body: DerReader, onDefault: OnDefault): boolean {
  if (body.peek() !== tags.boolean) return false
  const { offset } = body
  const value = body.boolean()
  if (!value) onDefault(offset)
  return value
}

/**
 * Runs `read` over an extension's value, which must be one strict DER element and be read to its end.
 * Gives undefined when the extension is absent; errors carry offsets into the whole input.
 */
export function readExtension<T>(
  extensions: Extensions,
  oid: string,
  read: (reader: DerReader) => T,
): T | undefined {
  const extension = extensions.get(oid)
  if (!extension) return undefined
  try {
    checkDer(extension.value)
    const reader = new DerReader(extension.value)
    const value = read(reader)
    reader.finish()
    return value
  } catch (error) {
    if (!(error instanceof PkiError)) throw error
    const offset = extension.offset + (error.offset ?? 0)
    throw new PkiError(error.code, `Extension ${oid}: ${error.message}`, offset, { cause: error })
  }
}

export interface BasicConstraints {
  readonly isCa: boolean
  readonly pathLength: number | undefined
}

/** RFC 5280 §4.2.1.9. A path length is refused where it means nothing. */
export function readBasicConstraints(
  reader: DerReader,
  onDefault: OnDefault = refuseDefault,
): BasicConstraints {
  const body = reader.enter(tags.sequence)
  const isCa = readDefaultFalse(body, onDefault)
  const start = body.offset
  const pathLength = body.isDone() ? undefined : body.smallInteger()
  body.finish()
  if (pathLength !== undefined && !isCa) {
    throw new PkiError('der', 'A path length without CA', start)
  }
  return { isCa, pathLength }
}

/** RFC 5280 §4.2.1.3: a named bit list with at least one bit. */
export function readKeyUsage(reader: DerReader): ReadonlySet<KeyUsage> {
  const { offset } = reader
  const usages = namedBits(reader.bitString(), offset).map((bit) => {
    const usage = keyUsages[bit]
    if (!usage) throw new PkiError('der', 'Unknown key usage bit', offset)
    return usage
  })
  if (usages.length === 0) throw new PkiError('der', 'Empty key usage', offset)
  return new Set(usages)
}

/** RFC 5280 §4.2.1.12: key purposes as dotted text, at least one, each once. */
export function readExtKeyUsage(reader: DerReader): string[] {
  const list = reader.enter(tags.sequence)
  const purposes: string[] = []
  do {
    const { offset } = list
    const purpose = list.oid()
    if (purposes.length >= maxKeyPurposes || purposes.includes(purpose)) {
      throw new PkiError('der', 'A key purpose twice, or too many', offset)
    }
    purposes.push(purpose)
  } while (!list.isDone())
  return purposes
}

/** RFC 5280 §4.2.1.6. An address with a mask is no name; it belongs into name constraints. */
export function readSubjectAltName(reader: DerReader): GeneralName[] {
  const { offset } = reader
  const names = readGeneralNames(reader.enter(tags.sequence))
  if (names.some((name) => name.type === 'ip' && ![4, 16].includes(name.value.length))) {
    throw new PkiError('der', 'An IP address with a mask as a name', offset)
  }
  return names
}

export function readSubjectKeyId(reader: DerReader): Buffer {
  return reader.content(tags.octetString)
}

/** RFC 5280 §4.2.1.1: the key identifier, if that form is used. */
export function readAuthorityKeyId(reader: DerReader): Buffer | undefined {
  const body = reader.enter(tags.sequence)
  const { offset } = body
  const keyId = body.peek() === primitive(0) ? body.content(primitive(0)) : undefined
  const issuer = body.enterOptional(constructed(1))
  if (issuer) readGeneralNames(issuer)
  const hasSerial = body.peek() === primitive(2)
  if (hasSerial) body.integer(primitive(2))
  body.finish()
  if ((issuer !== undefined) !== hasSerial) {
    throw new PkiError('der', 'Issuer and serial go together', offset)
  }
  return keyId
}

export interface DistributionPoint {
  /** DistributionPointName, DER: the bytes an IDP in a CRL repeats. */
  readonly name: Buffer | undefined
  readonly uris: readonly string[]
  readonly reasons: ReadonlySet<number> | undefined
  readonly crlIssuer: readonly GeneralName[] | undefined
}

/** RFC 5280 §4.2.1.13. */
export function readDistributionPoints(reader: DerReader): DistributionPoint[] {
  const list = reader.enter(tags.sequence)
  const points: DistributionPoint[] = []
  do {
    const { offset } = list
    if (points.length >= maxDistributionPoints) {
      throw new PkiError('der', 'Too many distribution points', offset)
    }
    const body = list.enter(tags.sequence)
    const named = readDistributionPointName(body)
    const reasonsAt = body.offset
    const reasons =
      body.peek() === primitive(1)
        ? new Set(namedBits(body.bitString(primitive(1)), reasonsAt))
        : undefined
    const issuer = body.enterOptional(constructed(2))
    const crlIssuer = issuer && readGeneralNames(issuer)
    body.finish()
    if (!named.name && !crlIssuer) {
      throw new PkiError('der', 'A distribution point that points nowhere', offset)
    }
    points.push({ ...named, reasons, crlIssuer })
  } while (!list.isDone())
  return points
}

/** `[0] DistributionPointName OPTIONAL`, as in a distribution point and in an IDP. */
export function readDistributionPointName(body: DerReader): {
  name: Buffer | undefined
  uris: string[]
} {
  const wrapper = body.enterOptional(constructed(0))
  if (!wrapper) return { name: undefined, uris: [] }
  const element = wrapper.next()
  wrapper.finish()
  const name = wrapper.buffer.subarray(element.start, element.end)
  // [1] nameRelativeToCRLIssuer is legal and nobody uses it; it has no URI.
  if (element.tag === constructed(1)) return { name, uris: [] }
  if (element.tag !== constructed(0)) {
    throw new PkiError('der', 'Not a distribution point name', element.start)
  }
  const names = readGeneralNames(wrapper.inside(element))
  return { name, uris: names.flatMap((one) => (one.type === 'uri' ? [one.value] : [])) }
}

export interface AccessDescription {
  readonly method: string
  readonly location: GeneralName
}

/** RFC 5280 §4.2.2.1. */
export function readAuthorityInfoAccess(reader: DerReader): AccessDescription[] {
  const list = reader.enter(tags.sequence)
  const descriptions: AccessDescription[] = []
  do {
    if (descriptions.length >= maxDistributionPoints) {
      throw new PkiError('der', 'Too many access descriptions', list.offset)
    }
    const body = list.enter(tags.sequence)
    const method = body.oid()
    const location = readGeneralName(body)
    body.finish()
    descriptions.push({ method, location })
  } while (!list.isDone())
  return descriptions
}

export interface NameConstraints {
  readonly permitted: readonly GeneralName[]
  readonly excluded: readonly GeneralName[]
}

/** RFC 5280 §4.2.1.10: minimum is 0 (absent in DER) and maximum is absent. */
export function readNameConstraints(reader: DerReader): NameConstraints {
  const body = reader.enter(tags.sequence)
  const { offset } = body
  const permitted = readSubtrees(body.enterOptional(constructed(0)))
  const excluded = readSubtrees(body.enterOptional(constructed(1)))
  body.finish()
  if (permitted.length + excluded.length === 0) {
    throw new PkiError('der', 'Empty name constraints', offset)
  }
  return { permitted, excluded }
}

function readSubtrees(list: DerReader | undefined): GeneralName[] {
  const subtrees: GeneralName[] = []
  if (!list) return subtrees
  do {
    if (subtrees.length >= maxSubtrees) throw new PkiError('der', 'Too many subtrees', list.offset)
    const subtree = list.enter(tags.sequence)
    subtrees.push(readGeneralName(subtree))
    subtree.finish()
  } while (!list.isDone())
  return subtrees
}
