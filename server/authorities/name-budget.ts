import type { Certificate } from '../../pki/x509/parse.ts'

/**
 * Listeners name every authority whose client certificates they take, in a list of at most 65,535 bytes: over it, each
 * handshake fails. Kept well below, since a hello has other things to say too.
 */
export const maxNameBytes = 49_152

/** What the list takes: each name with two bytes of length (RFC 8446 §4.2.4). */
export function nameBytes(authorities: readonly Pick<Certificate, 'subject'>[]): number {
  return authorities.reduce((sum, { subject }) => sum + 2 + subject.length, 0)
}
