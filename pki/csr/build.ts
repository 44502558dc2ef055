import type { KeyObject } from 'node:crypto'

import { oids } from '../der/oids.ts'
import { bitString, contextConstructed, integer, oid, sequence, setOf } from '../der/writer.ts'
import { spkiOf } from '../keys.ts'
import type { Signer } from '../signer.ts'
import { signNow } from '../signer.ts'
import { encodeSubjectAltName } from '../x509/extension-writer.ts'
import { signEnvelope } from '../x509/issue.ts'
import { isEmptyName } from '../x509/profiles.ts'

export interface CsrInput {
  /** Name, DER. */
  readonly subject: Buffer
  /** URIs to ask for in the subjectAltName. */
  readonly uris?: readonly string[] | undefined
}

/**
 * A PKCS #10 request (RFC 2986), signed by the key it is for.
 *
 * @throws PkiError `key` for a key we do not allow, `profile` for a URI that is not visible ASCII
 */
export function buildCsr(privateKey: KeyObject, { subject, uris = [] }: CsrInput): Buffer {
  const attributes = uris.length > 0 ? [extensionRequest(subject, uris)] : []
  const info = sequence(
    integer(0),
    subject,
    spkiOf(privateKey),
    contextConstructed(0, ...attributes),
  )
  const { algorithm, signature } = signNow(privateKey, info)
  return sequence(info, algorithm, bitString(signature))
}

/**
 * A request signed by a `Signer`, for keys that do not leave their token.
 *
 * @param extensions from `encodeExtension`, to ask for; may be none
 * @returns DER. The signature was verified
 */
export async function buildSignedCsr(
  signer: Signer,
  subject: Buffer,
  extensions: readonly Buffer[],
): Promise<Buffer> {
  const attributes = extensions.length > 0 ? [requestOf(sequence(...extensions))] : []
  const info = sequence(integer(0), subject, signer.spki, contextConstructed(0, ...attributes))
  return await signEnvelope(info, signer)
}

function extensionRequest(subject: Buffer, uris: readonly string[]): Buffer {
  const names = uris.map((value) => ({ type: 'uri', value }) as const)
  return requestOf(sequence(encodeSubjectAltName(names, isEmptyName(subject))))
}

function requestOf(extensions: Buffer): Buffer {
  return sequence(oid(oids.extensionRequest), setOf(extensions))
}
