import { toGrants } from '../access/grants.ts'
import type { Context } from '../context.ts'
import type { Caller, Credential, Refused } from '../operators/credential.ts'
import { hashSecret } from './session-cookie.ts'
import { type FoundSession, touchSession } from './session-store.ts'
import { lookUpSession, type SessionRefusal } from './sessions.ts'

/** The cookie of somebody who signed in: this person, with what he may do now. */
export function sessionCredential(
  { db, config }: Pick<Context, 'db' | 'config'>,
  secret: string,
): Credential {
  const hash = hashSecret(secret)
  return {
    name: hash.toString('hex'),
    lookUp: async (now) => {
      const answer = await lookUpSession(db, config, { hash, now })
      if (answer.refusal !== undefined) return refused(answer.refusal, answer.found)
      return callerOf(answer.found)
    },
  }
}

function callerOf(session: FoundSession): Caller {
  const id = `user:${session.person_id}`
  return {
    actor: {
      id,
      voice: id,
      name: session.person_name,
      grants: toGrants(session.grants),
      session: {
        id: session.id,
        personId: session.person_id,
        provenAt: session.proven_at,
      },
    },
    lastUsedAt: session.last_seen_at,
    touch: (tx, times) => touchSession(tx, session.id, times),
  }
}

function refused(refusal: SessionRefusal, session: FoundSession | undefined): Refused {
  const facts = session ? { personId: session.person_id, sessionId: session.id } : {}
  return { refusal, kind: 'session-refused', facts, isGuess: session === undefined }
}
