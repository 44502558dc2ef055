import { createHash, randomBytes } from 'node:crypto'

/**
 * `__Host-`: browsers take it over TLS only, for this host only, and for all paths, so that no neighbor can plant one (RFC 6265bis §4.1.3).
 * `SameSite=Strict`: the pages of the console need no cookie themselves, only what they ask for does, and that comes from the page's own origin.
 */
export const sessionCookieName = '__Host-fleetseal'

const secretPattern = /^[A-Za-z0-9_-]{43}$/

/** 256 random bits in base64url; only its hash is stored. */
export function newSessionSecret(): { secret: string; hash: Buffer } {
  const secret = randomBytes(32).toString('base64url')
  return { secret, hash: hashSecret(secret) }
}

/** SHA-256, 32 bytes. */
export function hashSecret(secret: string): Buffer {
  return createHash('sha256').update(secret).digest()
}

/** The value for `Set-Cookie`. Without `Max-Age`: the browser forgets it when it ends, the server sooner. */
export function sessionCookie(secret: string): string {
  return `${sessionCookieName}=${secret}; Path=/; Secure; HttpOnly; SameSite=Strict`
}

/** The value for `Set-Cookie` that takes the cookie away. */
export function noSessionCookie(): string {
  return `${sessionCookieName}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0`
}

/** The secret in a `Cookie` header; undefined without one, or when it is none of ours, or when two are sent. */
export function sessionSecretIn(header: string | undefined): string | undefined {
  const value = cookieIn(header, sessionCookieName)
  return value !== undefined && secretPattern.test(value) ? value : undefined
}

/** A cookie's value as it was sent. Two of one name: undefined, for which one is meant cannot be known. */
export function cookieIn(header: string | undefined, name: string): string | undefined {
  if (header === undefined || header.length > 8_192) return undefined
  const found = header
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
  return found.length === 1 ? found[0]?.slice(name.length + 1) : undefined
}
