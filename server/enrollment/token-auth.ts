import { timingSafeEqual } from 'node:crypto'

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import { FailureLimit, networkOf } from '../operators/failure-limit.ts'
import { hashToken, tokenPattern } from './service.ts'
import { findProfile, findTokenByHash, type Profile, type Token } from './store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>

export interface Credentials {
  user: string
  password: string
}

export interface Authenticated {
  token: Token
  profile: Profile
}

/** One for all connections of a process. */
export type TokenAuthenticator = (
  credentials: Credentials,
  at: { label: string | undefined; address: string },
) => Promise<Authenticated>

/**
 * Finds the token by its hash. Expiry and uses are not looked at here: they are taken in the transaction that needs them, and
 * a request that was answered before is answered again. Wrong tokens are limited by remote address and profile: 20 at
 * once, 20 more a minute. The limit is for guesses alone: behind one address a whole factory may enroll, so the right token is
 * let in whoever guesses beside it. What is asked of the database is one row by its index, and nothing for what is no token
 * at all; 32 random bytes are not guessed at any rate.
 *
 * @returns a function that throws DomainError `not-authenticated` or `rate-limited`
 */
export function createTokenAuthenticator(deps: Deps): TokenAuthenticator {
  const failures = new FailureLimit()
  return async ({ user, password }, { label, address }) => {
    const name = label ?? user
    const now = deps.clock.now()
    // A name of our own form only: the place that is limited must not be the caller's to invent without end.
    const place = `${networkOf(address)}|${/^[a-z0-9-]{1,63}$/.test(name) ? name : ''}`
    const found = await find(deps, { label, user, password })
    if (typeof found !== 'string') return found
    if (!failures.allows(place, now)) {
      throw new DomainError(
        'rate-limited',
        'Too many wrong tokens from this address: wait a minute',
      )
    }
    const isLast = failures.failed(place, now)
    noteEvent(deps, {
      source: 'server',
      kind: isLast ? 'enrollment-rate-limited' : 'enrollment-token-refused',
      severity: 'warning',
      facts: { reason: found, profile: name.slice(0, 63), address },
    })
    throw new DomainError('not-authenticated', 'The profile and token do not belong together')
  }
}

async function find(
  { db }: Deps,
  { label, user, password }: Credentials & { label: string | undefined },
): Promise<Authenticated | 'malformed' | 'unknown-token' | 'wrong-profile'> {
  if (!tokenPattern.test(password)) return 'malformed'
  const hash = hashToken(password)
  const token = await findTokenByHash(db, hash)
  // The index found it by the same bytes; the comparison that decides does not depend on how an index compares.
  if (token?.kind !== 'token' || !timingSafeEqual(token.secret_hash, hash)) return 'unknown-token'
  const profile = await findProfile(db, { id: token.profile_id })
  if (!profile) return 'unknown-token'
  // RFC 7030 §3.2.3: the user name may be empty; when it is not, it names the profile.
  const isNamed =
    (label === undefined || label === profile.name) && (user === '' || user === profile.name)
  return isNamed ? { token, profile } : 'wrong-profile'
}
