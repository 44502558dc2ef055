import { randomBytes } from 'node:crypto'

import { bitString, sequence } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import type { Signer } from '../signer.ts'
import { verifySignature } from '../signer.ts'
import { parseTbs } from './parse.ts'

/**
 * A new serial: 16 octets, top bit 0 and the next one 1, so that it is positive, of constant length and has 126
 * random bits (pki.md section 4; RFC 5280 §4.1.2.2).
 */
export function newSerial(): Buffer {
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
  return serial
}

/**
 * Signs a to-be-signed certificate and verifies the result with the signer's own public key before letting it out,
 * which catches a faulty token. Policy and `lintTbs` come before this call.
 *
 * @returns the certificate, DER
 * @throws PkiError `der` or `certificate` for bytes that are no to-be-signed certificate, or whose algorithm is not
 *   the signer's; `key` when the signature does not verify
 */
export async function signCertificate(tbs: Buffer, signer: Signer): Promise<Buffer> {
  if (!parseTbs(tbs).signatureAlgorithm.equals(signer.algorithm)) {
    throw new PkiError('certificate', 'The signer uses another algorithm than the certificate says')
  }
  return await signEnvelope(tbs, signer)
}

/** SEQUENCE { tbs, algorithm, signature }: the outside of a certificate and of a CRL alike. */
export async function signEnvelope(tbs: Buffer, signer: Signer): Promise<Buffer> {
  const signature = await signer.sign(tbs)
  if (!verifySignature(signer.algorithm, signer.spki, tbs, signature)) {
    throw new PkiError('key', 'The signer made a signature that does not verify')
  }
  return sequence(tbs, signer.algorithm, bitString(signature))
}
