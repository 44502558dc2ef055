import { createHash } from 'node:crypto'

import { readCaRequest } from '../../pki/ceremony/ca-request.ts'
import { PkiError } from '../../pki/errors.ts'

/** SHA-256 of a public key (SubjectPublicKeyInfo), hex: what people compare between two machines. */
export function keyIdOf(spki: Buffer): string {
  return createHash('sha256').update(spki).digest('hex')
}

/** Of the key in a request file; undefined when it is none. */
export function keyIdOfRequest(request: string): string | undefined {
  try {
    return keyIdOf(readCaRequest(request).csr.spki)
  } catch (error) {
    if (error instanceof PkiError) return undefined
    throw error
  }
}
