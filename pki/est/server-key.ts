import { idOfCertificate } from '../cms/certificate-id.ts'
import { certsOnly } from '../cms/certs-only.ts'
import { cmsOids } from '../cms/cms-oids.ts'
import type { Recipient } from '../cms/enveloped-data-build.ts'
import { buildEnvelopedData } from '../cms/enveloped-data-build.ts'
import type { EnvelopeKey } from '../cms/enveloped-data.ts'
import { openEnvelopedData } from '../cms/enveloped-data.ts'
import { buildSignedData } from '../cms/signed-data-build.ts'
import { verifySignedData } from '../cms/signed-data.ts'
import { checkDer } from '../der/check.ts'
import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { tags } from '../der/tags.ts'
import { sequence } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import type { Signer } from '../signer.ts'
import { toBase64Lines } from './base64-lines.ts'

/**
 * A generated key for one recipient (RFC 7030 §4.4.2): an AsymmetricKeyPackage (RFC 5958 §2) in a SignedData of whoever made the
 * key, in an EnvelopedData.
 *
 * @param pkcs8 PrivateKeyInfo, DER
 * @returns ContentInfo, DER
 */
export async function sealGeneratedKey(
  pkcs8: Buffer,
  generator: { certificate: Buffer; signer: Signer },
  recipient: Recipient,
): Promise<Buffer> {
  const signed = await buildSignedData(
    {
      content: sequence(pkcs8),
      contentType: cmsOids.asymmetricKeyPackage,
      signerId: idOfCertificate(generator.certificate),
      certificates: [generator.certificate],
    },
    generator.signer,
  )
  return buildEnvelopedData(signed, recipient, { contentType: oids.signedData })
}

/**
 * Opens what `sealGeneratedKey` made for an EC key or a shared key, for a device.
 *
 * @param generatorSpki SubjectPublicKeyInfo of whoever is to have made the key, DER
 * @returns PrivateKeyInfo, DER
 * @throws PkiError `der`, `cms`, `key`
 */
export function openGeneratedKey(der: Buffer, key: EnvelopeKey, generatorSpki: Buffer): Buffer {
  const { contentType, content } = openEnvelopedData(der, key)
  if (contentType !== oids.signedData) throw new PkiError('cms', 'There is no SignedData inside')
  const signed = verifySignedData(content, { signerSpki: generatorSpki })
  if (signed.contentType !== cmsOids.asymmetricKeyPackage || !signed.content) {
    throw new PkiError('cms', 'There is no key package inside')
  }
  checkDer(signed.content)
  const reader = new DerReader(signed.content)
  const list = reader.enter(tags.sequence)
  reader.finish()
  const pkcs8 = list.raw(tags.sequence)
  list.finish()
  return pkcs8
}

/** Contains characters that base64 does not, so that no part can end early. */
const boundary = 'fleetseal-server-key'
const lineEnd = '\r\n'

/**
 * The answer to serverkeygen (RFC 7030 §4.4.2): the key, plain or sealed, and the certificate, as multipart/mixed with base64
 * parts.
 *
 * @param key PrivateKeyInfo or the EnvelopedData around it, DER
 * @param certificate DER
 */
export function serverKeyBody(
  key: { readonly kind: 'plain' | 'sealed'; readonly der: Buffer },
  certificate: Buffer,
): { contentType: string; body: Buffer } {
  const keyType =
    key.kind === 'plain'
      ? 'application/pkcs8'
      : 'application/pkcs7-mime; smime-type=server-generated-key'
  const certificateType = 'application/pkcs7-mime; smime-type=certs-only'
  const body = [
    part(keyType, key.der),
    part(certificateType, certsOnly([certificate])),
    `--${boundary}--${lineEnd}`,
  ].join('')
  return {
    contentType: `multipart/mixed; boundary=${boundary}`,
    body: Buffer.from(body, 'latin1'),
  }
}

function part(contentType: string, der: Buffer): string {
  return [
    `--${boundary}`,
    `Content-Type: ${contentType}`,
    'Content-Transfer-Encoding: base64',
    '',
    toBase64Lines(der, lineEnd),
  ].join(lineEnd)
}
