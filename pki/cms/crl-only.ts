import { checkDer } from '../der/check.ts'
import { oids } from '../der/oids.ts'
import { constructed, tags } from '../der/tags.ts'
import { contextConstructed, integer, oid, sequence, setOf } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import { openContentInfo } from './signed-data.ts'

const maxBytes = 16_777_216
const version1 = 1

/**
 * SignedData without content, signers and certificates that carries one CRL, as SCEP answers GetCRL (RFC 8894 §3.4).
 *
 * @param crl DER
 */
export function crlOnly(crl: Buffer): Buffer {
  const body = sequence(
    integer(version1),
    setOf(),
    sequence(oid(oids.data)),
    contextConstructed(1, crl),
    setOf(),
  )
  return sequence(oid(oids.signedData), contextConstructed(0, body))
}

/**
 * The one CRL of such a message, DER, still to be read and verified by `parseCrl` and `verifyCrl`.
 *
 * @param der at most 16 MiB
 * @throws PkiError `der` or `cms`
 */
export function readCrlOnly(der: Buffer): Buffer {
  checkDer(der, { maxBytes, setOrder: 'report' })
  const body = openContentInfo(der, oids.signedData, maxBytes)
  if (body.smallInteger() !== version1) throw new PkiError('cms', 'Version must be 1')
  const digests = body.content(tags.set)
  const info = body.enter(tags.sequence)
  const isData = info.oid() === oids.data
  info.finish()
  if (body.peek() === constructed(0)) body.next()
  const list = body.enter(constructed(1))
  const crl = list.raw(tags.sequence)
  list.finish()
  const signers = body.content(tags.set)
  body.finish()
  if (digests.length > 0 || signers.length > 0 || !isData) {
    throw new PkiError('cms', 'The message carries more than a CRL')
  }
  return crl
}
