import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { type StoredGrant, storedGrants } from '../db/grants.ts'
import type { OperatorSessionTable } from '../db/schema.ts'
import type { PersonState, SessionEnd } from './state.ts'

export type Session = Selectable<OperatorSessionTable>

export async function insertSession(
  tx: Tx,
  row: Omit<Session, 'ended_at' | 'ended_reason'>,
): Promise<void> {
  await tx.insertInto('operator_session').values(row).execute()
}

export type FoundSession = Session & {
  person_name: string
  person_state: PersonState
  /** What the person may do now. */
  grants: StoredGrant[]
}

/** The session of a cookie with the person it belongs to, in one statement; also one that has ended. */
export async function findSessionByHash(db: Db, hash: Buffer): Promise<FoundSession | undefined> {
  return await db
    .selectFrom('operator_session')
    .innerJoin('person', 'person.id', 'operator_session.person_id')
    .selectAll('operator_session')
    .select(['person.name as person_name', 'person.state as person_state'])
    .select(storedGrants(sql`'user:' || person.id`).as('grants'))
    .where('token_hash', '=', hash)
    .executeTakeFirst()
}

/** Locked: what a session is told next does not cross with its end. */
export async function lockSession(tx: Tx, id: string): Promise<Session | undefined> {
  return await tx
    .selectFrom('operator_session')
    .selectAll()
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst()
}

/** Gives a session another cookie and the moment of its newest proof. False when it has ended. */
export async function replaceToken(
  tx: Tx,
  id: string,
  next: { hash: Buffer; provenAt: Date; now: Date; personId: string },
): Promise<boolean> {
  const row = await tx
    .updateTable('operator_session')
    .set({ token_hash: next.hash, proven_at: next.provenAt, last_seen_at: next.now })
    .where('id', '=', id)
    .where('person_id', '=', next.personId)
    .where('expires_at', '>', next.now)
    .where('ended_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Sessions of a person, newest first, ended ones too; `before` is the id of the last one seen. */
export async function listSessions(
  db: Db,
  personId: string,
  { before, limit }: { before: string | undefined; limit: number },
): Promise<Session[]> {
  return await db
    .selectFrom('operator_session')
    .selectAll()
    .where('person_id', '=', personId)
    .$if(before !== undefined, (query) => query.where('id', '<', before ?? ''))
    .orderBy('id', 'desc')
    .limit(limit)
    .execute()
}

/** Which sessions to end: all that is given must hold. */
export interface SessionChoice {
  id?: string | undefined
  personId?: string | undefined
  exceptId?: string | undefined
  sid?: string | undefined
  beganBy?: Date | undefined
}

/** Ends the open sessions that are chosen; returns whose they were. */
export async function markEnded(
  tx: Tx,
  which: SessionChoice,
  end: { reason: SessionEnd; now: Date },
): Promise<{ id: string; person_id: string }[]> {
  const { id, personId, exceptId, sid, beganBy } = which
  if (id === undefined && personId === undefined && sid === undefined) return []
  return await tx
    .updateTable('operator_session')
    .set({ ended_at: end.now, ended_reason: end.reason, oidc_hint: null })
    .where('ended_at', 'is', null)
    .$if(id !== undefined, (query) => query.where('id', '=', id ?? ''))
    .$if(personId !== undefined, (query) => query.where('person_id', '=', personId ?? ''))
    .$if(exceptId !== undefined, (query) => query.where('id', '<>', exceptId ?? ''))
    .$if(sid !== undefined, (query) => query.where('oidc_sid', '=', sid ?? ''))
    .$if(beganBy !== undefined, (query) => query.where('created_at', '<=', beganBy ?? new Date(0)))
    .returning(['id', 'person_id'])
    .execute()
}

/** Ends all open sessions of a person but the newest `keep`. */
export async function endBeyond(
  tx: Tx,
  personId: string,
  keep: number,
  now: Date,
): Promise<number> {
  const { rows } = await sql`update operator_session
    set ended_at = ${now}, ended_reason = 'too-many', oidc_hint = null
    where ended_at is null and person_id = ${personId}::uuid and id not in (
      select id from operator_session where person_id = ${personId}::uuid and ended_at is null
      order by id desc limit ${keep}
    ) returning id`.execute(tx)
  return rows.length
}

/** Moves `last_seen_at` forward only when it lies before `olderThan`. */
export async function touchSession(
  tx: Tx,
  id: string,
  times: { now: Date; olderThan: Date },
): Promise<void> {
  await tx
    .updateTable('operator_session')
    .set({ last_seen_at: times.now })
    .where('id', '=', id)
    .where('ended_at', 'is', null)
    .where('last_seen_at', '<', times.olderThan)
    .execute()
}

/**
 * Of these persons those that have an open session, with what they may do now. The end for want of use does not count: whoever looks at an
 * answer that goes on is there.
 */
export async function openAmong(
  db: Db,
  ids: readonly string[],
  now: Date,
): Promise<{ id: string; grants: StoredGrant[] }[]> {
  return await db
    .selectFrom('person')
    .select('id')
    .select(storedGrants(sql`'user:' || person.id`).as('grants'))
    .where('id', 'in', ids)
    .where('state', '=', 'active')
    .where((eb) =>
      eb.exists(
        eb
          .selectFrom('operator_session')
          .select('operator_session.id')
          .whereRef('person_id', '=', 'person.id')
          .where('ended_at', 'is', null)
          .where('expires_at', '>', now),
      ),
    )
    .execute()
}

/** Removes sessions whose absolute end lies before an instant, at most `limit`. Returns how many. */
export async function forgetSessionRows(tx: Tx, before: Date, limit: number): Promise<number> {
  const { rows } = await sql`delete from operator_session where id in (
    select id from operator_session where expires_at < ${before} order by expires_at limit ${limit}
  ) returning id`.execute(tx)
  return rows.length
}
