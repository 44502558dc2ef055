import { PkiError } from '../errors.ts'

/** The shard is told from one octet of the serial. */
export const maxShards = 256

/**
 * Which of an issuer's CRL shards a certificate is on: the last octet of its serial modulo the count (pki.md section 7).
 * It is fixed when the certificate is issued, since the certificate names the shard.
 *
 * @returns 0 to `shardCount - 1`
 * @throws PkiError `crl` for a count outside 1 to 256 or an empty serial
 */
export function shardOf(serial: Buffer, shardCount: number): number {
  const last = serial.at(-1)
  if (last === undefined) throw new PkiError('crl', 'A serial has at least one octet')
  if (!Number.isInteger(shardCount) || shardCount < 1 || shardCount > maxShards) {
    throw new PkiError('crl', `An issuer has 1 to ${maxShards} CRL shards`)
  }
  return last % shardCount
}
