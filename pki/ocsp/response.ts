import { readAlgorithm } from '../algorithms.ts'
import { crlReasons } from '../crl/revocation.ts'
import { checkDer } from '../der/check.ts'
import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { constructed, primitive, tags } from '../der/tags.ts'
import { PkiError } from '../errors.ts'
import { readName } from '../names.ts'
import { readExtension } from '../x509/extensions.ts'
import type { Certificate } from '../x509/parse.ts'
import { parseCertificate } from '../x509/parse.ts'
import type { CertStatus, ResponseStatus } from './answer.ts'
import { responseStatuses } from './answer.ts'
import type { CertId } from './cert-id.ts'
import { readCertId } from './cert-id.ts'
import { maxCertIds, readNonce, readOptionalExtensions, refuseCritical } from './request.ts'

export type SingleResponse = CertStatus & {
  readonly certId: CertId
  readonly thisUpdate: Date
  readonly nextUpdate: Date | undefined
}

/** BasicOCSPResponse. Every Buffer is a slice of the DER that was parsed. */
export interface BasicResponse {
  /** What is signed. */
  readonly data: Buffer
  readonly signatureAlgorithm: Buffer
  readonly signature: Buffer
  readonly responder:
    | { readonly by: 'name'; readonly name: Buffer }
    | { readonly by: 'key'; readonly hash: Buffer }
  readonly producedAt: Date
  readonly responses: readonly SingleResponse[]
  readonly nonce: Buffer | undefined
  readonly certificates: readonly Certificate[]
}

export type OcspResponse =
  | { readonly status: Exclude<ResponseStatus, 'successful'> }
  | { readonly status: 'successful'; readonly basic: BasicResponse }

const maxCertificates = 8
const keyHashOctets = 20

/**
 * Reads an OCSPResponse strictly (RFC 6960 §4.2.1), as `answerOcsp` writes them and other responders do. Nothing in it is
 * to be believed before `checkOcspResponse` has verified it.
 *
 * @param der at most 64 KiB
 * @throws PkiError `der`, `ocsp`, or `certificate` for one that is malformed
 */
export function parseOcspResponse(der: Buffer): OcspResponse {
  checkDer(der)
  const reader = new DerReader(der)
  const body = reader.enter(tags.sequence)
  reader.finish()
  const status = readStatus(body)
  if (status !== 'successful') {
    body.finish()
    return { status }
  }
  const wrapper = body.enter(constructed(0))
  body.finish()
  const bytes = wrapper.enter(tags.sequence)
  wrapper.finish()
  if (bytes.oid() !== oids.ocspBasic) throw new PkiError('ocsp', 'Not a basic response', 0)
  const content = bytes.content(tags.octetString)
  bytes.finish()
  return { status, basic: readBasic(content) }
}

function readStatus(body: DerReader): ResponseStatus {
  const { offset } = body
  const value = body.smallInteger(tags.enumerated)
  for (const status of statusNames) if (responseStatuses[status] === value) return status
  throw new PkiError('ocsp', 'Unknown response status', offset)
}

const statusNames: readonly ResponseStatus[] = [
  'successful',
  'malformedRequest',
  'internalError',
  'tryLater',
  'unauthorized',
]

function readBasic(der: Buffer): BasicResponse {
  checkDer(der)
  const reader = new DerReader(der)
  const body = reader.enter(tags.sequence)
  reader.finish()
  const element = body.next(tags.sequence)
  const signatureAlgorithm = readAlgorithm(body)
  const signature = body.bitStringOctets()
  const certificates = readCertificates(body)
  body.finish()
  const data = der.subarray(element.start, element.end)
  return {
    data,
    signatureAlgorithm,
    signature,
    certificates,
    ...readData(body.inside(element)),
  }
}

function readCertificates(body: DerReader): Certificate[] {
  const wrapper = body.enterOptional(constructed(0))
  if (!wrapper) return []
  const list = wrapper.enter(tags.sequence)
  wrapper.finish()
  const certificates: Certificate[] = []
  while (!list.isDone()) {
    if (certificates.length >= maxCertificates) {
      throw new PkiError('ocsp', 'Too many certificates', list.offset)
    }
    certificates.push(parseCertificate(list.raw(tags.sequence)))
  }
  return certificates
}

function readData(data: DerReader) {
  const responder = readResponder(data)
  const producedAt = data.generalizedTime()
  const list = data.enter(tags.sequence)
  const responses: SingleResponse[] = []
  do {
    if (responses.length >= maxCertIds) {
      throw new PkiError('ocsp', 'Too many responses', list.offset)
    }
    responses.push(readSingle(list.enter(tags.sequence)))
  } while (!list.isDone())
  const extensions = readOptionalExtensions(data, 1)
  data.finish()
  refuseCritical(extensions, [oids.ocspNonce])
  const nonce = readExtension(extensions, oids.ocspNonce, readNonce)
  return { responder, producedAt, responses, nonce }
}

function readResponder(data: DerReader): BasicResponse['responder'] {
  const { offset } = data
  const byName = data.enterOptional(constructed(1))
  if (byName) {
    const name = byName.raw(tags.sequence)
    byName.finish()
    readName(name)
    return { by: 'name', name }
  }
  const byKey = data.enter(constructed(2))
  const hash = byKey.content(tags.octetString)
  byKey.finish()
  if (hash.length !== keyHashOctets) throw new PkiError('ocsp', 'A bad key hash', offset)
  return { by: 'key', hash }
}

function readSingle(body: DerReader): SingleResponse {
  const certId = readCertId(body)
  const status = readCertStatus(body)
  const { offset } = body
  const thisUpdate = body.generalizedTime()
  const next = body.enterOptional(constructed(0))
  const nextUpdate = next?.generalizedTime()
  next?.finish()
  refuseCritical(readOptionalExtensions(body, 1), [])
  body.finish()
  if (nextUpdate && nextUpdate < thisUpdate) {
    throw new PkiError('ocsp', 'The response ends before it begins', offset)
  }
  return { certId, ...status, thisUpdate, nextUpdate }
}

function readCertStatus(body: DerReader): CertStatus {
  const { offset } = body
  const tag = body.peek() ?? 0
  switch (tag) {
    case primitive(0):
      return readEmpty(body, tag, 'good')
    case primitive(2):
      return readEmpty(body, tag, 'unknown')
    case constructed(1): {
      const revoked = body.enter(tag)
      const revokedAt = revoked.generalizedTime()
      const wrapper = revoked.enterOptional(constructed(0))
      const reason = wrapper?.smallInteger(tags.enumerated) ?? crlReasons.unspecified
      wrapper?.finish()
      revoked.finish()
      return { status: 'revoked', revokedAt, reason }
    }
    default:
      throw new PkiError('ocsp', 'Unknown certificate status', offset)
  }
}

function readEmpty<S extends 'good' | 'unknown'>(
  body: DerReader,
  tag: number,
  status: S,
): { status: S } {
  const { offset } = body
  if (body.content(tag).length !== 0) throw new PkiError('ocsp', 'A status with content', offset)
  return { status }
}
