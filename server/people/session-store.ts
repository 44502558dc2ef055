import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { OperatorSessionTable } from '../db/schema.ts'
import type { SessionEnd } from './state.ts'

export type Session = Selectable<OperatorSessionTable>

/** Ends of sessions, in minutes without use; the absolute end is in the row. */
export interface SessionBounds {
  now: Date
  idleMs: number
}

export async function insertSession(
  tx: Tx,
  row: Omit<Session, 'ended_at' | 'ended_reason'>,
): Promise<void> {
  await tx.insertInto('operator_session').values(row).execute()
}

/** The session of a cookie with the person it belongs to, in one statement; also one that has ended. */
export async function findSessionByHash(
  db: Db,
  hash: Buffer,
): Promise<(Session & { person_name: string; person_state: string }) | undefined> {
  return await db
    .selectFrom('operator_session')
    .innerJoin('person', 'person.id', 'operator_session.person_id')
    .selectAll('operator_session')
    .select(['person.name as person_name', 'person.state as person_state'])
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
  next: { hash: Buffer; provenAt: Date; now: Date },
): Promise<boolean> {
  const row = await tx
    .updateTable('operator_session')
    .set({ token_hash: next.hash, proven_at: next.provenAt, last_seen_at: next.now })
    .where('id', '=', id)
    .where('ended_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Open sessions of a person, newest first. */
export async function openSessions(
  db: Db,
  personId: string,
  page: SessionBounds & { before?: string | undefined; limit: number },
): Promise<Session[]> {
  const { before } = page
  return await db
    .selectFrom('operator_session')
    .selectAll()
    .where('person_id', '=', personId)
    .where('ended_at', 'is', null)
    .where('expires_at', '>', page.now)
    .where('last_seen_at', '>', new Date(page.now.getTime() - page.idleMs))
    .$if(before !== undefined, (query) => query.where('id', '<', before ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
}

/** Which sessions to end; all that is given must hold. `atMostFrom`: only those that began no later. */
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

/** Of these persons those that have an open session of these; for streams that go on. */
export async function openAmong(
  db: Db,
  ids: readonly string[],
  { now, idleMs }: SessionBounds,
): Promise<string[]> {
  if (ids.length === 0) return []
  const rows = await db
    .selectFrom('operator_session')
    .innerJoin('person', 'person.id', 'operator_session.person_id')
    .select('person.id')
    .distinct()
    .where('person.id', 'in', ids)
    .where('person.state', '=', 'active')
    .where('ended_at', 'is', null)
    .where('expires_at', '>', now)
    .where('last_seen_at', '>', new Date(now.getTime() - idleMs))
    .execute()
  return rows.map(({ id }) => id)
}

/** Removes sessions whose absolute end lies before an instant, at most `limit`. Returns how many. */
export async function forgetSessionRows(tx: Tx, before: Date, limit: number): Promise<number> {
  const { rows } = await sql`delete from operator_session where id in (
    select id from operator_session where expires_at < ${before} order by expires_at limit ${limit}
  ) returning id`.execute(tx)
  return rows.length
}
