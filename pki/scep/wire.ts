import { idOfCertificate } from '../cms/certificate-id.ts'
import { certsOnly } from '../cms/certs-only.ts'
import { buildSignedData } from '../cms/signed-data-build.ts'
import { PkiError } from '../errors.ts'
import type { Signer } from '../signer.ts'

/** Operations of RFC 8894 §3.5.1 and §4; every other name is refused. */
export const scepOperations = ['GetCACaps', 'GetCACert', 'GetNextCACert', 'PKIOperation'] as const
export type ScepOperation = (typeof scepOperations)[number]

export interface ScepCapabilities {
  /** Whether a successor of the issuing CA can be fetched. */
  readonly hasNextCa: boolean
  /** For lines of old devices only. */
  readonly allowSha1?: boolean
  readonly allowTripleDes?: boolean
}

export interface ScepBody {
  readonly contentType: string
  readonly body: Buffer
}

export const pkiMessageType = 'application/x-pki-message'
/** RFC 8894 §4.1: a URL of this length is more than clients send and servers take. */
const maxMessageText = 24_576

/** The value of `operation` in a request's query. Throws PkiError `scep` for any other. */
export function readScepOperation(text: string | undefined): ScepOperation {
  const operation = scepOperations.find((name) => name === text)
  if (!operation) throw new PkiError('scep', 'Unknown operation')
  return operation
}

/** The answer to GetCACaps (RFC 8894 §3.5.2), one word a line. MD5 and DES are never among them. */
export function caCapabilities({
  hasNextCa,
  allowSha1 = false,
  allowTripleDes = false,
}: ScepCapabilities): ScepBody {
  const words = [
    'AES',
    'POSTPKIOperation',
    'Renewal',
    'SHA-256',
    'SHA-512',
    'SCEPStandard',
    ...(hasNextCa ? ['GetNextCACert'] : []),
    ...(allowSha1 ? ['SHA-1'] : []),
    ...(allowTripleDes ? ['DES3'] : []),
  ]
  return { contentType: 'text/plain', body: Buffer.from(`${words.join('\n')}\n`, 'latin1') }
}

/**
 * The answer to GetCACert (RFC 8894 §4.2): the registration authority's certificate and the issuing chain in a certs-only message;
 * a CA that is its own registration authority is sent bare.
 *
 * @param certificates DER
 */
export function caCertificates(certificates: readonly Buffer[]): ScepBody {
  const [only] = certificates
  if (only && certificates.length === 1) {
    return { contentType: 'application/x-x509-ca-cert', body: only }
  }
  return { contentType: 'application/x-x509-ca-ra-cert', body: certsOnly(certificates) }
}

/**
 * The answer to GetNextCACert (RFC 8894 §4.7.1): the coming certificates, in a message signed with the current CA's key.
 *
 * @param next DER
 * @param current the CA certificate that devices know now, DER, with its key
 */
export async function nextCaCertificates(
  next: readonly Buffer[],
  current: { certificate: Buffer; signer: Signer },
): Promise<ScepBody> {
  const body = await buildSignedData(
    {
      content: undefined,
      signerId: idOfCertificate(current.certificate),
      certificates: [current.certificate, ...next],
    },
    current.signer,
  )
  return { contentType: 'application/x-x509-next-ca-cert', body }
}

/**
 * The message in a PKIOperation sent by GET (RFC 8894 §4.1): base64 in the query, after URL decoding. A plus sign that was not
 * escaped comes out as a blank and is taken for what it was.
 *
 * @throws PkiError `scep` for text that is no base64, empty or above 24 KiB
 */
export function decodeGetMessage(text: string): Buffer {
  if (text.length > maxMessageText) throw new PkiError('scep', 'The message is too long')
  const base64 = text.replaceAll(/[\r\n]/g, '').replaceAll(' ', '+')
  const der = Buffer.from(base64, 'base64')
  // Buffer skips what it does not know; writing it back shows whether anything was skipped.
  if (der.length === 0 || der.toString('base64') !== base64) {
    throw new PkiError('scep', 'The message is not base64')
  }
  return der
}
