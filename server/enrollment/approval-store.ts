import type { Selectable } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { profileCovered } from '../db/reach.ts'
import type { EnrollmentRequestTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { Reach } from '../protocol/reach.ts'
import type { RequestState } from './state.ts'

export type WaitingRequest = Selectable<EnrollmentRequestTable>

/** Returns false when the same request is there already. */
export async function insertRequest(tx: Tx, row: WaitingRequest): Promise<boolean> {
  const inserted = await tx
    .insertInto('enrollment_request')
    .values(row)
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

/** Locks it: whoever decides and whoever asks again take turns. */
export async function lockRequest(
  tx: Tx,
  by: { id: string } | { hash: Buffer },
): Promise<WaitingRequest | undefined> {
  const query = tx.selectFrom('enrollment_request').selectAll().forUpdate()
  return await (
    'id' in by ? query.where('id', '=', by.id) : query.where('request_hash', '=', by.hash)
  ).executeTakeFirst()
}

export async function findRequest(
  db: Db,
  by: { id: string } | { hash: Buffer },
): Promise<WaitingRequest | undefined> {
  const query = db.selectFrom('enrollment_request').selectAll()
  return await (
    'id' in by ? query.where('id', '=', by.id) : query.where('request_hash', '=', by.hash)
  ).executeTakeFirst()
}

export async function getRequest(db: Db, id: string, reach: Reach): Promise<WaitingRequest> {
  const row = await requests(db, reach).where('id', '=', id).executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such enrollment request', { requestId: id })
  return row
}

function requests(db: Db, reach: Reach) {
  return db
    .selectFrom('enrollment_request')
    .selectAll()
    .where(profileCovered('enrollment_request.profile_id', reach))
}

/** Newest first. `before` is the id of the last one seen. */
export async function listRequests(
  db: Db,
  filter: {
    reach: Reach
    profileId: string | undefined
    state: RequestState | undefined
    before: string | undefined
    limit: number
  },
): Promise<WaitingRequest[]> {
  const { reach, profileId, state, before, limit } = filter
  let query = requests(db, reach)
  if (profileId !== undefined) query = query.where('profile_id', '=', profileId)
  if (state !== undefined) query = query.where('state', '=', state)
  if (before !== undefined) query = query.where('id', '<', before)
  return await query.orderBy('id', 'desc').limit(limit).execute()
}

/** How many wait, of a profile and of one of its credentials; counted up to `limit`. */
export async function countWaiting(
  db: Db,
  { profileId, tokenId, limit }: { profileId: string; tokenId?: string; limit: number },
): Promise<number> {
  let waiting = db
    .selectFrom('enrollment_request')
    .select('id')
    .where('profile_id', '=', profileId)
    .where('state', '=', 'pending')
    .limit(limit)
  if (tokenId !== undefined) waiting = waiting.where('token_id', '=', tokenId)
  const { count } = await db
    .selectFrom(waiting.as('waiting'))
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  return Number(count)
}

export async function noteSeen(tx: Tx, id: string, now: Date): Promise<void> {
  await tx
    .updateTable('enrollment_request')
    .set({ last_seen_at: now })
    .where('id', '=', id)
    .execute()
}

/** Only from the state it is expected in. */
export async function decide(
  tx: Tx,
  { id, from }: { id: string; from: RequestState },
  to: { state: 'approved' | 'denied'; by: string; at: Date; reason: string | null },
): Promise<WaitingRequest | undefined> {
  return await tx
    .updateTable('enrollment_request')
    .set({ state: to.state, decided_by: to.by, decided_at: to.at, reason: to.reason })
    .where('id', '=', id)
    .where('state', '=', from)
    .returningAll()
    .executeTakeFirst()
}

export async function markIssued(tx: Tx, id: string, requestKey: Buffer): Promise<void> {
  await tx
    .updateTable('enrollment_request')
    .set({ state: 'issued', request_key: requestKey })
    .where('id', '=', id)
    .where('state', '=', 'approved')
    .execute()
}

/** Forgets requests that nobody asked about since `before`, at most `limit`. Returns how many. */
export async function deleteForgotten(tx: Tx, before: Date, limit: number): Promise<number> {
  const rows = await tx
    .deleteFrom('enrollment_request')
    .where('id', 'in', (eb) =>
      eb
        .selectFrom('enrollment_request')
        .select('id')
        .where('state', 'in', ['pending', 'approved'])
        .where('last_seen_at', '<', before)
        .limit(limit),
    )
    .returning('id')
    .execute()
  return rows.length
}
