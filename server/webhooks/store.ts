import { type Insertable, type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { WebhookEndpointTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'

export type Endpoint = Selectable<WebhookEndpointTable>

export interface EndpointDetails extends Endpoint {
  waiting: number
  dead: number
}

export const mostEndpoints = 50

function details(db: Db) {
  return db
    .selectFrom('webhook_endpoint')
    .selectAll()
    .select([
      sql<number>`(select count(*) from webhook_delivery d
      where d.endpoint_id = webhook_endpoint.id and d.state = 'pending')`.as('waiting'),
      sql<number>`(select count(*) from webhook_delivery d
      where d.endpoint_id = webhook_endpoint.id and d.state = 'dead')`.as('dead'),
    ])
}

export async function getEndpoint(db: Db, id: string): Promise<EndpointDetails> {
  const row = await details(db).where('id', '=', id).executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such webhook', { endpointId: id })
  return row
}

/** For changes that depend on what it is now. */
export async function lockEndpoint(tx: Tx, id: string): Promise<Endpoint> {
  const row = await tx
    .selectFrom('webhook_endpoint')
    .selectAll()
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such webhook', { endpointId: id })
  return row
}

/** Newest first; `before` is the id of the last one seen. */
export async function listEndpoints(
  db: Db,
  page: { before: string | undefined; limit: number },
): Promise<EndpointDetails[]> {
  return await details(db)
    .$if(page.before !== undefined, (query) => query.where('id', '<', page.before ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
}

/** Returns false when the id is there already. */
export async function insertEndpoint(
  tx: Tx,
  row: Insertable<WebhookEndpointTable>,
): Promise<boolean> {
  const { id } = row
  const inserted = await tx
    .insertInto('webhook_endpoint')
    .values(row)
    .onConflict((conflict) => conflict.column('id').doNothing())
    .returning('id')
    .executeTakeFirst()
  if (inserted === undefined) return false
  const { n } = await tx
    .selectFrom('webhook_endpoint')
    .select(({ fn }) => fn.countAll<number>().as('n'))
    .executeTakeFirstOrThrow()
  if (n > mostEndpoints) {
    throw new DomainError('quota-exhausted', `There may be ${mostEndpoints} webhooks: delete one`, {
      endpointId: id,
    })
  }
  return true
}

export async function updateEndpoint(
  tx: Tx,
  id: string,
  values: Partial<Omit<Endpoint, 'id' | 'created_at' | 'created_by'>>,
): Promise<void> {
  await tx.updateTable('webhook_endpoint').set(values).where('id', '=', id).execute()
}

export async function deleteEndpoint(tx: Tx, id: string): Promise<void> {
  await tx.deleteFrom('webhook_endpoint').where('id', '=', id).execute()
}

export async function lockSecrets(
  tx: Tx,
): Promise<Pick<Endpoint, 'id' | 'secret' | 'previous_secret'>[]> {
  return await tx
    .selectFrom('webhook_endpoint')
    .select(['id', 'secret', 'previous_secret'])
    .orderBy('id')
    .forUpdate()
    .execute()
}
