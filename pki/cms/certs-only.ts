import { checkDer } from '../der/check.ts'
import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { constructed, tags } from '../der/tags.ts'
import { contextConstructed, integer, oid, sequence, setOf } from '../der/writer.ts'
import { PkiError } from '../errors.ts'

const maxCertificates = 64
/** Some dozens of ML-DSA certificates. */
const maxBytes = 1_048_576
const version1 = 1

/**
 * A certs-only message: SignedData without content and signers (RFC 5652 §5, RFC 5272 §4.1, as EST answers). The set of
 * certificates is in DER order, whatever order they are given in.
 *
 * @param certificates 1 to 64, DER
 */
export function certsOnly(certificates: readonly Buffer[]): Buffer {
  if (certificates.length === 0 || certificates.length > maxCertificates) {
    throw new PkiError('cms', `A certs-only message has 1 to ${maxCertificates} certificates`)
  }
  const sorted = certificates.toSorted((a, b) => a.compare(b))
  const signedData = sequence(
    integer(version1),
    setOf(),
    sequence(oid(oids.data)),
    contextConstructed(0, ...sorted),
    setOf(),
  )
  return sequence(oid(oids.signedData), contextConstructed(0, signedData))
}

/**
 * The certificates of a certs-only message, DER, in their order. Nothing is trusted by being in it: there is no
 * signature. Each one is strict DER and is still to be read by `parseCertificate`.
 *
 * @param der at most 1 MiB
 * @throws PkiError `der`, or `cms` for content, signers, CRLs or no certificate
 */
export function readCertsOnly(der: Buffer): Buffer[] {
  checkDer(der, { maxBytes })
  const reader = new DerReader(der, { maxBytes })
  const info = reader.enter(tags.sequence)
  reader.finish()
  if (info.oid() !== oids.signedData) throw new PkiError('cms', 'Not SignedData', 0)
  const wrapper = info.enter(constructed(0))
  info.finish()
  const body = wrapper.enter(tags.sequence)
  wrapper.finish()

  const start = body.offset
  if (body.smallInteger() !== version1) throw new PkiError('cms', 'Version must be 1', start)
  expectEmpty(body, 'A certs-only message has no digests')
  const content = body.enter(tags.sequence)
  if (content.oid() !== oids.data || !content.isDone()) {
    throw new PkiError('cms', 'A certs-only message has no content', content.offset)
  }
  const certificates = readCertificates(body)
  // crls [1]: an empty set is written by some encoders and says nothing.
  if (body.peek() === constructed(1) && body.content(constructed(1)).length > 0) {
    throw new PkiError('cms', 'A certs-only message with CRLs', body.offset)
  }
  expectEmpty(body, 'A certs-only message has no signers')
  body.finish()
  return certificates
}

function readCertificates(body: DerReader): Buffer[] {
  const list = body.enter(constructed(0))
  const certificates: Buffer[] = []
  do {
    if (certificates.length >= maxCertificates) {
      throw new PkiError('cms', 'Too many certificates', list.offset)
    }
    certificates.push(list.raw(tags.sequence))
  } while (!list.isDone())
  return certificates
}

function expectEmpty(body: DerReader, otherwise: string): void {
  const { offset } = body
  if (body.content(tags.set).length > 0) throw new PkiError('cms', otherwise, offset)
}
