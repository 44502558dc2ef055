import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { groupKnown } from '../db/reach.ts'
import type { ApprovalPolicyTable, ApprovalRequestTable, ApprovalVoiceTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { ApprovalKind } from '../protocol/approvals.ts'
import type { Reach } from '../protocol/reach.ts'

export type Policy = Selectable<ApprovalPolicyTable>
export type Voice = Selectable<ApprovalVoiceTable>
export type Request = Selectable<ApprovalRequestTable>

export async function findPolicy(db: Db, kind: ApprovalKind): Promise<Policy | undefined> {
  return await db
    .selectFrom('approval_policy')
    .selectAll()
    .where('kind', '=', kind)
    .executeTakeFirst()
}

export async function listPolicies(db: Db): Promise<Policy[]> {
  return await db.selectFrom('approval_policy').selectAll().orderBy('kind').execute()
}

export async function setPolicy(tx: Tx, policy: Policy): Promise<void> {
  const { kind: _kind, ...changes } = policy
  await tx
    .insertInto('approval_policy')
    .values(policy)
    .onConflict((oc) => oc.column('kind').doUpdateSet(changes))
    .execute()
}

/** The open request of somebody for exactly this, until it is over. Locked: two uses of it see each other. */
export async function lockAsked(
  tx: Tx,
  asked: { hash: Buffer; authorVoice: string; now: Date },
): Promise<Request | undefined> {
  return await tx
    .selectFrom('approval_request')
    .selectAll()
    .where('hash', '=', asked.hash)
    .where('author_voice', '=', asked.authorVoice)
    .where('state', '=', 'open')
    .where('expires_at', '>', asked.now)
    .forUpdate()
    .executeTakeFirst()
}

export async function lockRequest(tx: Tx, id: string, reach: Reach): Promise<Request> {
  const row = await tx
    .selectFrom('approval_request')
    .selectAll()
    .where('id', '=', id)
    .where(within(reach))
    .forUpdate()
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such request for approval', { approvalId: id })
  return row
}

/** Of these kinds, newest first; `before` is the id of the last one seen. */
export async function listRequests(
  db: Db,
  page: {
    reaches: ReadonlyMap<ApprovalKind, Reach>
    only?: string
    state?: Request['state'] | undefined
    before?: string | undefined
    limit: number
  },
): Promise<Request[]> {
  const { reaches, only, state, before, limit } = page
  const seen = [...reaches].map(
    ([kind, reach]) => sql<boolean>`(kind = ${kind} and ${within(reach)})`,
  )
  if (seen.length === 0) return []
  let query = db.selectFrom('approval_request').selectAll()
  if (only !== undefined) query = query.where('id', '=', only)
  if (state !== undefined) query = query.where('state', '=', state)
  if (before !== undefined) query = query.where('id', '<', before)
  return await query
    .where(sql<boolean>`(${sql.join(seen, sql` or `)})`)
    .orderBy('id', 'desc')
    .limit(limit)
    .execute()
}

/** What concerns no group is everybody's who may do it anywhere. */
function within(reach: Reach) {
  return sql<boolean>`(approval_request.group_id is null or ${groupKnown('approval_request.group_id', reach)})`
}

export async function insertRequest(tx: Tx, row: Request): Promise<boolean> {
  const inserted = await tx
    .insertInto('approval_request')
    .values({ ...row, asked: JSON.stringify(row.asked) })
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

/** False when it was not open any more. */
export async function endRequest(
  tx: Tx,
  id: string,
  { state, at }: { state: Exclude<Request['state'], 'open'>; at: Date },
): Promise<boolean> {
  const row = await tx
    .updateTable('approval_request')
    .set({ state, ended_at: at })
    .where('id', '=', id)
    .where('state', '=', 'open')
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** What is over makes room for the same to be asked again, and what is long over goes. */
export async function clearRequests(tx: Tx, now: Date, keepMs: number): Promise<void> {
  await tx
    .updateTable('approval_request')
    .set({ state: 'withdrawn', ended_at: now })
    .where('state', '=', 'open')
    .where('expires_at', '<=', now)
    .execute()
  const old = new Date(now.getTime() - keepMs)
  await sql`delete from approval_request where id in
    (select id from approval_request where expires_at < ${old} order by expires_at limit 100)`.execute(
    tx,
  )
}

export async function openOf(db: Db, authorVoice: string): Promise<number> {
  const { count } = await db
    .selectFrom('approval_request')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('author_voice', '=', authorVoice)
    .where('state', '=', 'open')
    .executeTakeFirstOrThrow()
  return Number(count)
}

/** False when this person said so before. */
export async function insertVoice(tx: Tx, voice: Voice): Promise<boolean> {
  const inserted = await tx
    .insertInto('approval_voice')
    .values(voice)
    .onConflict((oc) => oc.columns(['request_id', 'voice']).doNothing())
    .returning('voice')
    .executeTakeFirst()
  return inserted !== undefined
}

export async function voicesOf(db: Db, requestIds: readonly string[]): Promise<Voice[]> {
  return await db
    .selectFrom('approval_voice')
    .selectAll()
    .where('request_id', '=', sql<string>`any(${[...requestIds]}::uuid[])`)
    .orderBy('at')
    .orderBy('voice')
    .execute()
}
