import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { ModelTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'

export type Model = Selectable<ModelTable>

/** Models have a name of their own kind: `key` is the id or the name. */
export async function getModel(db: Db, key: string): Promise<Model> {
  const isId = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/.test(key)
  // A name may look like an id only by being 36 characters long, and names have 32 at most.
  const row = await db
    .selectFrom('model')
    .selectAll()
    .where(isId ? 'id' : 'name', '=', key)
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such model', { model: key })
  return row
}

/** Newest first; `before` is the id of the last one seen. */
export async function listModels(
  db: Db,
  page: { before: string | undefined; limit: number },
): Promise<Model[]> {
  return await db
    .selectFrom('model')
    .selectAll()
    .$if(page.before !== undefined, (query) => query.where('id', '<', page.before ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
}

/** False when it changed meanwhile. */
export async function setPolicy(
  tx: Tx,
  { id, before, policy }: { id: string; before: unknown; policy: string },
): Promise<boolean> {
  const row = await tx
    .updateTable('model')
    .set({ policy })
    .where('id', '=', id)
    .where('policy', '=', sql<string>`${JSON.stringify(before)}::jsonb`)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** False when the id or the name is there already. */
export async function insertModel(
  tx: Tx,
  row: Omit<Model, 'policy' | 'version'>,
): Promise<boolean> {
  const inserted = await tx
    .insertInto('model')
    .values(row)
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}
