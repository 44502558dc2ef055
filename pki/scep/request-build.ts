import { idOfCertificate, readCertificateHead } from '../cms/certificate-id.ts'
import type { ContentCipher } from '../cms/enveloped-data-build.ts'
import { buildEnvelopedData } from '../cms/enveloped-data-build.ts'
import { buildSignedData } from '../cms/signed-data-build.ts'
import { integer, sequence } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import type { Signer } from '../signer.ts'
import { encodeScepAttributes } from './attributes.ts'

export type ScepQuestion =
  | { readonly type: 'PKCSReq' | 'RenewalReq'; /** DER */ readonly csr: Buffer }
  | { readonly type: 'CertPoll'; readonly issuer: Buffer; readonly subject: Buffer }
  | { readonly type: 'GetCert' | 'GetCRL'; readonly issuer: Buffer; readonly serial: Buffer }

export interface ScepSender {
  /** RSA certificate to sign with and be answered to, DER: self-signed at first, the current one in a renewal. */
  readonly certificate: Buffer
  readonly signer: Signer
  readonly transactionId: string
  /** 16 octets. */
  readonly senderNonce: Buffer
  /** RSA certificate of the registration authority, DER. */
  readonly ra: Buffer
  /** Default AES-128-CBC, which every server of RFC 8894 has to read. */
  readonly cipher?: ContentCipher
}

/**
 * A request as a client sends it (RFC 8894 §3).
 *
 * @returns pkiMessage, DER
 * @throws PkiError `scep`, `key`, `cms`
 */
export async function buildScepRequest(
  question: ScepQuestion,
  { certificate, signer, transactionId, senderNonce, ra, cipher = 'aes-128-cbc' }: ScepSender,
): Promise<Buffer> {
  const { spki } = readCertificateHead(ra)
  const recipient = { kind: 'certificate', id: idOfCertificate(ra), spki } as const
  const envelope = buildEnvelopedData(messageData(question), recipient, { cipher })
  return await buildSignedData(
    {
      content: envelope,
      signerId: idOfCertificate(certificate),
      certificates: [certificate],
      attributes: encodeScepAttributes({
        messageType: question.type,
        transactionId,
        senderNonce,
      }),
    },
    signer,
  )
}

function messageData(question: ScepQuestion): Buffer {
  switch (question.type) {
    case 'PKCSReq':
    case 'RenewalReq':
      return question.csr
    case 'CertPoll':
      return sequence(question.issuer, question.subject)
    case 'GetCert':
    case 'GetCRL':
      return sequence(question.issuer, integer(question.serial))
    default:
      throw new PkiError('scep', 'Unknown message type')
  }
}
