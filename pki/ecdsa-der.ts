import { integer, sequence } from './der/writer.ts'

/**
 * Ecdsa-Sig-Value (RFC 3279 §2.2.3) of the two halves that a token gives.
 *
 * @param raw r and s, each of half the length, big-endian
 */
export function ecdsaDer(raw: Buffer): Buffer {
  const half = raw.length / 2
  return sequence(integer(raw.subarray(0, half)), integer(raw.subarray(half)))
}
