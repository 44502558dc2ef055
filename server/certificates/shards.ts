import { shardOf } from '../../pki/crl/shard.ts'
import type { Authorities } from '../authorities/authorities.ts'

/**
 * Into how many lists the revoked certificates of a device issuer are spread: at 49 bytes an entry, 16 keep each under 50 KB
 * while fewer than 16,000 are revoked. Never to be lowered: certificates would name lists that nobody makes any more.
 */
export const crlShards = 16

/** The shard that a device certificate names (pki.md section 7); stored with it. */
export function deviceShard(serial: Buffer): number {
  return shardOf(serial, crlShards)
}

/** The shards of an authority, beside its whole list. Only issuers of devices have enough certificates for it. */
export function shardsOf(
  { root, servers }: { root: { id: string }; servers: Pick<Authorities['servers'], 'id'> },
  authorityId: string,
): number[] {
  if (authorityId === root.id || authorityId === servers.id) return []
  return Array.from({ length: crlShards }, (_, shard) => shard)
}
