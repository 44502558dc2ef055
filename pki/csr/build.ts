import type { KeyObject } from 'node:crypto'

import { oids } from '../der/oids.ts'
import { bitString, contextConstructed, integer, oid, sequence, setOf } from '../der/writer.ts'
import { spkiOf } from '../keys.ts'
import { signNow } from '../signer.ts'
import { encodeSubjectAltName } from '../x509/extension-writer.ts'
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

function extensionRequest(subject: Buffer, uris: readonly string[]): Buffer {
  const names = uris.map((value) => ({ type: 'uri', value }) as const)
  const extensions = sequence(encodeSubjectAltName(names, isEmptyName(subject)))
  return sequence(oid(oids.extensionRequest), setOf(extensions))
}
