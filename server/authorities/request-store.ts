import type { Selectable } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { AuthorityRequestTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'

export type RequestRow = Selectable<AuthorityRequestTable>

export async function findRequest(db: Db, id: string): Promise<RequestRow | undefined> {
  return await db
    .selectFrom('authority_request')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirst()
}

export async function getRequest(db: Db, id: string): Promise<RequestRow> {
  const row = await findRequest(db, id)
  if (!row) throw new DomainError('not-found', 'No such request', { requestId: id })
  return row
}

/** Newest first. `before` is the id of the last one seen. */
export async function pageOfRequests(
  db: Db,
  { before, limit }: { before?: string | undefined; limit: number },
): Promise<RequestRow[]> {
  let query = db.selectFrom('authority_request').selectAll()
  if (before !== undefined) query = query.where('id', '<', before)
  return await query.orderBy('id', 'desc').limit(limit).execute()
}

/** All of them: there are never many. */
export async function listRequests(db: Db): Promise<RequestRow[]> {
  return await db
    .selectFrom('authority_request')
    .selectAll()
    .orderBy('purpose')
    .orderBy('id')
    .execute()
}

export async function countRequests(db: Db): Promise<number> {
  const { count } = await db
    .selectFrom('authority_request')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow()
  return Number(count)
}

export async function insertRequest(tx: Tx, row: RequestRow): Promise<void> {
  await tx.insertInto('authority_request').values(row).execute()
}

export async function deleteRequest(tx: Tx, id: string): Promise<void> {
  await tx.deleteFrom('authority_request').where('id', '=', id).execute()
}
