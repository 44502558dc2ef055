import { randomFillSync } from 'node:crypto'

import { bitString, sequence } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import type { Signer } from '../signer.ts'
import { mustBeVerified, verifySignature } from '../signer.ts'
import { signatureAlgorithmIn } from './parse.ts'

const serialBytes = 16
/** Random bytes for the next serials: asking for 16 costs as much as asking for a thousand. */
const pool = Buffer.alloc(64 * serialBytes)
let used = pool.length

/**
 * A new serial: 16 octets, top bit 0 and the next one 1, so that it is positive, of constant length and has 126
 * random bits (pki.md section 4; RFC 5280 §4.1.2.2).
 */
export function newSerial(): Buffer {
  if (used >= pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const serial = Buffer.from(pool.subarray(used, used + serialBytes))
  used += serialBytes
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
  return serial
}

/**
 * Signs a to-be-signed certificate and verifies the result with the signer's own public key before letting it out,
 * which catches a faulty token (`mustBeVerified`). Policy and `lintTbs` come before this call: they have read every
 * byte of it.
 *
 * @returns the certificate, DER
 * @throws PkiError `der` or `certificate` for bytes that do not begin like a to-be-signed certificate, or whose algorithm
 *   is not the signer's; `key` when the signature does not verify
 */
export async function signCertificate(tbs: Buffer, signer: Signer): Promise<Buffer> {
  if (!signatureAlgorithmIn(tbs).equals(signer.algorithm)) {
    throw new PkiError('certificate', 'The signer uses another algorithm than the certificate says')
  }
  return await signEnvelope(tbs, signer)
}

/** SEQUENCE { tbs, algorithm, signature }: the outside of a certificate and of a CRL alike. */
export async function signEnvelope(tbs: Buffer, signer: Signer): Promise<Buffer> {
  const signature = await signer.sign(tbs)
  const isDoubtful = mustBeVerified(signer)
  if (isDoubtful && !verifySignature(signer.algorithm, signer.spki, tbs, signature)) {
    throw new PkiError('key', 'The signer made a signature that does not verify')
  }
  return sequence(tbs, signer.algorithm, bitString(signature))
}
