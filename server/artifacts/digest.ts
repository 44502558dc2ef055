import { DomainError } from '../errors.ts'

/**
 * The SHA-256 (lower hex) that a `Repr-Digest` header promises (RFC 9530 section 3, a dictionary of RFC 8941 byte sequences);
 * undefined without the header. Other algorithms may stand beside it; a header without `sha-256` is refused, because
 * a promise we cannot check must not look checked.
 */
export function promisedSha256(header: string | undefined): string | undefined {
  if (header === undefined) return undefined
  const members = header.split(',').map((member) => member.trim())
  const [encoded, ...more] = members.flatMap(
    (member) => /^sha-256=:([A-Za-z0-9+/]{43}=):$/.exec(member)?.[1] ?? [],
  )
  if (encoded === undefined || more.length > 0) {
    throw new DomainError('invalid-request', 'Repr-Digest must hold one sha-256=:BASE64:')
  }
  return Buffer.from(encoded, 'base64').toString('hex')
}

/** The header's value for a representation with this SHA-256 (lower hex). */
export function reprDigest(sha256: string): string {
  return `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:`
}
