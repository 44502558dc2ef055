import type { Context } from '../context.ts'
import type { Db, Tx } from '../db/client.ts'
import type { StoredGrant } from '../db/grants.ts'
import { storable } from '../db/storable.ts'
import { newId } from '../ids.ts'
import { forgetAttemptRows } from './attempt-store.ts'
import { newSessionSecret } from './session-cookie.ts'
import {
  endBeyond,
  findSessionByHash,
  forgetSessionRows,
  type FoundSession,
  insertSession,
  markEnded,
  openAmong,
  replaceToken,
  type SessionChoice,
} from './session-store.ts'
import type { SessionEnd, SessionMethod } from './state.ts'
import { noteSignIn } from './store.ts'

/** Sessions of one person that are open at the same time; the oldest one makes room. */
export const maxSessions = 20

export interface NewSession {
  personId: string
  method: SessionMethod
  /** Where the sign-in came from, and with what, to recognise it in a list. */
  address: string
  userAgent: string | undefined
  now: Date
  /** When a second factor was shown, or the provider asked. Absent: now. */
  provenAt?: Date | undefined
  oidc?: { sid: string | undefined; hint: Buffer | undefined } | undefined
}

/**
 * Begins a session of somebody who has shown all that a sign-in takes; the caller records the audit row and has made sure, in the
 * same transaction, that the person is active. Returns its id, and the secret for `sessionCookie`, which is stored nowhere.
 */
export async function createSession(
  tx: Tx,
  config: Pick<Context['config'], 'session'>,
  given: NewSession,
): Promise<{ id: string; secret: string }> {
  const { personId, now } = given
  const id = newId(now)
  const { secret, hash } = newSessionSecret()
  await insertSession(tx, {
    id,
    person_id: personId,
    token_hash: hash,
    method: given.method,
    created_at: now,
    last_seen_at: now,
    expires_at: new Date(now.getTime() + config.session.maxMs),
    proven_at: given.provenAt ?? now,
    address: given.address.slice(0, 64),
    user_agent: storable((given.userAgent ?? '').slice(0, 200)),
    oidc_sid: given.oidc?.sid ?? null,
    oidc_hint: given.oidc?.hint ?? null,
  })
  await endBeyond(tx, personId, maxSessions, now)
  await noteSignIn(tx, personId, { now })
  return { id, secret }
}

/**
 * After a step-up: the session goes on under another secret, and whoever had copied the old one is left outside. Undefined when the session has
 * ended meanwhile, or is of another person.
 */
export async function renewSession(
  tx: Tx,
  id: string,
  { now, provenAt = now, personId }: { now: Date; provenAt?: Date; personId: string },
): Promise<{ secret: string } | undefined> {
  const { secret, hash } = newSessionSecret()
  return (await replaceToken(tx, id, { hash, provenAt, now, personId })) ? { secret } : undefined
}

/** Ends what is chosen (nothing without `id`, `personId` or `sid`), from the next request on. Returns the sessions that ended now. */
export async function endSessions(
  tx: Tx,
  which: SessionChoice,
  end: { reason: SessionEnd; now: Date },
): Promise<{ id: string; personId: string }[]> {
  const rows = await markEnded(tx, which, end)
  return rows.map((row) => ({ id: row.id, personId: row.person_id }))
}

export type SessionRefusal =
  | 'unknown-session'
  | 'ended-session'
  | 'expired-session'
  | 'idle-session'
  | 'disabled-person'

export type SessionAnswer =
  | { found: FoundSession; refusal?: undefined }
  | { refusal: SessionRefusal; found?: FoundSession | undefined }

/** What a cookie is worth now: one statement. `hash` is SHA-256 of its value. */
export async function lookUpSession(
  db: Db,
  config: Pick<Context['config'], 'session'>,
  { hash, now }: { hash: Buffer; now: Date },
): Promise<SessionAnswer> {
  const found = await findSessionByHash(db, hash)
  if (!found) return { refusal: 'unknown-session' }
  if (found.ended_at) return { refusal: 'ended-session', found }
  if (found.expires_at <= now) return { refusal: 'expired-session', found }
  if (found.last_seen_at.getTime() + config.session.idleMs <= now.getTime()) {
    return { refusal: 'idle-session', found }
  }
  return found.person_state === 'active' ? { found } : { refusal: 'disabled-person', found }
}

/** Of these persons those who are signed in, with what they may do now. One statement. */
export async function peopleSignedIn(
  db: Db,
  ids: readonly string[],
  now: Date,
): Promise<{ id: string; grants: StoredGrant[] }[]> {
  return await openAmong(db, ids, now)
}

/** An ended session can be looked at for so long. */
export const endedSessionDays = 30

/** Forgets sessions that ended, and sign-ins that were begun, before an instant; at most `limit` of each. Returns the larger number. */
export async function forgetSignIns(tx: Tx, before: Date, limit: number): Promise<number> {
  const attempts = await forgetAttemptRows(tx, before, limit)
  return Math.max(attempts, await forgetSessionRows(tx, before, limit))
}
