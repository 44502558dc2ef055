import { readAlgorithm } from '../algorithms.ts'
import { checkDer } from '../der/check.ts'
import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { constructed, tags } from '../der/tags.ts'
import { contextConstructed, octetString, sequence } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import { encodeExtension } from '../x509/extension-writer.ts'
import type { Extensions } from '../x509/extensions.ts'
import { readExtension, readExtensions } from '../x509/extensions.ts'
import { readGeneralName } from '../x509/general-names.ts'
import type { CertId } from './cert-id.ts'
import { readCertId } from './cert-id.ts'

export interface OcspRequest {
  /** 1 to 32. */
  readonly certIds: readonly CertId[]
  /** 1 to 128 octets. */
  readonly nonce: Buffer | undefined
}

/** Room for 32 CertIDs and for a signed request's certificate, which we do not look at. */
export const maxOcspRequestBytes = 16_384
export const maxCertIds = 32
/** RFC 9654 §2.1. */
const maxNonceOctets = 128

/**
 * Reads an OCSP request strictly (RFC 6960 §4.1.1; nonce of RFC 9654). A signature on it is skipped: answers do not depend
 * on who asks. Critical extensions are refused, since none is understood but the nonce.
 *
 * @param der at most 16 KiB
 * @throws PkiError `der` or `ocsp`; both mean malformedRequest
 */
export function parseOcspRequest(der: Buffer): OcspRequest {
  checkDer(der, { maxBytes: maxOcspRequestBytes })
  const reader = new DerReader(der)
  const body = reader.enter(tags.sequence)
  reader.finish()
  const tbs = body.enter(tags.sequence)
  skipSignature(body)
  body.finish()

  // [0] version: v1 is the DEFAULT, and there is no other. [1] requestorName.
  const requestor = tbs.enterOptional(constructed(1))
  if (requestor) {
    readGeneralName(requestor)
    requestor.finish()
  }
  const certIds = readCertIds(tbs.enter(tags.sequence))
  const extensions = readOptionalExtensions(tbs, 2)
  tbs.finish()
  refuseCritical(extensions, [oids.ocspNonce])
  return { certIds, nonce: readExtension(extensions, oids.ocspNonce, readNonce) }
}

/** Signature ::= SEQUENCE { algorithm, signature, certs [0] EXPLICIT OPTIONAL }. */
function skipSignature(body: DerReader): void {
  const wrapper = body.enterOptional(constructed(0))
  if (!wrapper) return
  const signature = wrapper.enter(tags.sequence)
  wrapper.finish()
  readAlgorithm(signature)
  signature.bitStringOctets()
  const certificates = signature.enterOptional(constructed(0))
  certificates?.next(tags.sequence)
  certificates?.finish()
  signature.finish()
}

function readCertIds(list: DerReader): CertId[] {
  const certIds: CertId[] = []
  do {
    const { offset } = list
    if (certIds.length >= maxCertIds) throw new PkiError('ocsp', 'Too many CertIDs', offset)
    const request = list.enter(tags.sequence)
    certIds.push(readCertId(request))
    refuseCritical(readOptionalExtensions(request, 0), [])
    request.finish()
  } while (!list.isDone())
  return certIds
}

/** `[number] EXPLICIT Extensions OPTIONAL`. */
export function readOptionalExtensions(body: DerReader, number: number): Extensions {
  const wrapper = body.enterOptional(constructed(number))
  if (!wrapper) return new Map()
  const extensions = readExtensions(wrapper)
  wrapper.finish()
  return extensions
}

/** Throws PkiError `ocsp` for a critical extension that is not known. */
export function refuseCritical(extensions: Extensions, known: readonly string[]): void {
  for (const { oid, critical, offset } of extensions.values()) {
    if (critical && !known.includes(oid)) {
      throw new PkiError('ocsp', `Critical extension ${oid} is not understood`, offset)
    }
  }
}

/** Nonce ::= OCTET STRING (SIZE (1..128)). */
export function readNonce(reader: DerReader): Buffer {
  const { offset } = reader
  const nonce = reader.content(tags.octetString)
  if (nonce.length === 0 || nonce.length > maxNonceOctets) {
    throw new PkiError('ocsp', `A nonce has 1 to ${maxNonceOctets} octets`, offset)
  }
  return nonce
}

/** The nonce extension. Throws PkiError `ocsp` outside 1 to 128 octets. */
export function encodeNonce(nonce: Buffer): Buffer {
  if (nonce.length === 0 || nonce.length > maxNonceOctets) {
    throw new PkiError('ocsp', `A nonce has 1 to ${maxNonceOctets} octets`)
  }
  return encodeExtension(oids.ocspNonce, false, octetString(nonce))
}

/**
 * An unsigned request. Throws PkiError `ocsp` for no or more than 32 CertIDs or a bad nonce.
 *
 * @param certIds from `encodeCertId`
 */
export function buildOcspRequest(certIds: readonly Buffer[], nonce?: Buffer): Buffer {
  if (certIds.length === 0 || certIds.length > maxCertIds) {
    throw new PkiError('ocsp', `A request has 1 to ${maxCertIds} CertIDs`)
  }
  const list = sequence(...certIds.map((certId) => sequence(certId)))
  const extensions = nonce ? [contextConstructed(2, sequence(encodeNonce(nonce)))] : []
  return sequence(sequence(list, ...extensions))
}

/** Longest part of a URL that is looked at; clients use GET up to 255 octets (RFC 6960 A.1). */
const maxGetCharacters = 4096

/**
 * The DER in the path of a GET (RFC 6960 A.1): URL-encoded base64.
 *
 * @param path what follows the responder's own path and one slash, as it came, not decoded
 * @throws PkiError `ocsp` for escapes or base64 that are not canonical, or more than 4,096 characters
 */
export function decodeOcspGet(path: string): Buffer {
  if (path.length > maxGetCharacters) throw new PkiError('ocsp', 'The path is too long')
  const base64 = unescapePath(path)
  const der = Buffer.from(base64, 'base64')
  // Buffer skips what it does not know; writing it back shows whether anything was skipped.
  if (der.length === 0 || der.toString('base64') !== base64) {
    throw new PkiError('ocsp', 'The path is not base64')
  }
  return der
}

function unescapePath(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch (error) {
    throw new PkiError('ocsp', 'The path is not URL-encoded', undefined, { cause: error })
  }
}
