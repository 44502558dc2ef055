import type { Context } from '../context.ts'
import type { Db, Tx } from '../db/client.ts'
import { storable } from '../db/storable.ts'
import { newId } from '../ids.ts'
import { newSessionSecret } from './session-cookie.ts'
import {
  endBeyond,
  findSessionByHash,
  insertSession,
  markEnded,
  replaceToken,
  type Session,
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
 * ended meanwhile.
 */
export async function renewSession(
  tx: Tx,
  id: string,
  { now, provenAt = now }: { now: Date; provenAt?: Date },
): Promise<{ secret: string } | undefined> {
  const { secret, hash } = newSessionSecret()
  return (await replaceToken(tx, id, { hash, provenAt, now })) ? { secret } : undefined
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
  | { session: Session; personName: string; refusal?: undefined }
  | { refusal: SessionRefusal; session?: Session }

/** What a cookie is worth now: one statement. `hash` is SHA-256 of its value. */
export async function lookUpSession(
  db: Db,
  config: Pick<Context['config'], 'session'>,
  { hash, now }: { hash: Buffer; now: Date },
): Promise<SessionAnswer> {
  const row = await findSessionByHash(db, hash)
  if (!row) return { refusal: 'unknown-session' }
  const { person_name: personName, person_state: state, ...session } = row
  if (session.ended_at) return { refusal: 'ended-session', session }
  if (session.expires_at <= now) return { refusal: 'expired-session', session }
  if (session.last_seen_at.getTime() + config.session.idleMs <= now.getTime()) {
    return { refusal: 'idle-session', session }
  }
  if (state !== 'active') return { refusal: 'disabled-person', session }
  return { session, personName }
}
