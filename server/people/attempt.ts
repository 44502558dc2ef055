import { createHmac, randomBytes } from 'node:crypto'

import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { type Attempt, forgetAttemptRows, insertAttempt, takeAttempt } from './attempt-store.ts'
import { hashSecret } from './session-cookie.ts'

/** `SameSite=Lax`: the provider sends the browser back from another site, and this cookie has to come along. It opens nothing by itself. */
export const attemptCookieName = '__Host-fleetseal-sign-in'
export const attemptMs = 10 * 60_000
const maxAttempts = 10_000

/** What a browser holds while it is at the provider: 256 random bits, from which all the rest is derived. */
export interface Browser {
  secret: string
}

export function browserOf(cookie: string | undefined): Browser {
  const isOurs = cookie !== undefined && /^[A-Za-z0-9_-]{43}$/.test(cookie)
  return { secret: isOurs ? cookie : randomBytes(32).toString('base64url') }
}

export function attemptCookie({ secret }: Browser): string {
  const seconds = attemptMs / 1_000
  return `${attemptCookieName}=${secret}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=${seconds}`
}

/**
 * The nonce (OpenID Connect Core §3.1.2.1) and the code verifier (RFC 7636 §4.1) of a sign-in: known to the browser that began it and to
 * nobody who can read the database.
 */
export function secretsOf({ secret }: Browser, state: string) {
  const derive = (use: string) =>
    createHmac('sha256', secret).update(`${use} ${state}`).digest('base64url')
  return { nonce: derive('nonce'), verifier: derive('verifier') }
}

type Deps = Pick<Context, 'db' | 'clock'>

/** @throws DomainError `busy` while too many are under way */
export async function beginAttempt(
  { db, clock }: Deps,
  given: { browser: Browser; sessionId: string | undefined; returnTo: string },
): Promise<{ state: string }> {
  const now = clock.now()
  const state = randomBytes(32).toString('base64url')
  const row: Attempt = {
    state_hash: hashSecret(state),
    browser_hash: hashSecret(given.browser.secret),
    session_id: given.sessionId ?? null,
    return_to: given.returnTo,
    created_at: now,
    expires_at: new Date(now.getTime() + attemptMs),
  }
  const isStored = await inTransaction(db, async (tx) => {
    await forgetAttemptRows(tx, now, 100)
    return await insertAttempt(tx, row, maxAttempts)
  })
  if (!isStored) {
    throw new DomainError('busy', 'Too many sign-ins are under way: try again in a minute', {
      retryAfterSeconds: 60,
    })
  }
  return { state }
}

/** The attempt that this browser began under this state, which then is over; undefined when there is none, or it took too long. */
export async function completeAttempt(
  { db, clock }: Deps,
  { browser, state }: { browser: Browser; state: string },
): Promise<Attempt | undefined> {
  const hashes = { stateHash: hashSecret(state), browserHash: hashSecret(browser.secret) }
  const attempt = await inTransaction(db, (tx) => takeAttempt(tx, hashes))
  return attempt && attempt.expires_at > clock.now() ? attempt : undefined
}

/**
 * Where to go after signing in: a path of this server. Anything that a browser could take for another place becomes `/`.
 */
export function safeReturnTo(given: unknown): string {
  if (typeof given !== 'string' || given.length > 500) return '/'
  // `//host` and `/\host` are other hosts; control characters and blanks are dropped by browsers before they look.
  if (!/^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(given)) return '/'
  const base = 'https://here.invalid'
  const url = URL.parse(given, base)
  // `/.//host` has become `//host` by now.
  if (url?.origin !== base || url.pathname.startsWith('//')) return '/'
  return `${url.pathname}${url.search}${url.hash}`
}
