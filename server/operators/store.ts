import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { type StoredGrant, storedGrants } from '../db/grants.ts'
import type { ApiKeyTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'

export interface ApiKey extends Selectable<ApiKeyTable> {
  /** What it may do now. */
  grants: StoredGrant[]
}

function keys(db: Db) {
  return db
    .selectFrom('api_key')
    .selectAll('api_key')
    .select(storedGrants(sql`'key:' || api_key.id`).as('grants'))
}

export async function getApiKey(db: Db, id: string): Promise<ApiKey> {
  const row = await keys(db).where('id', '=', id).executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such API key', { keyId: id })
  return row
}

export async function findApiKeyByHash(db: Db, hash: Buffer): Promise<ApiKey | undefined> {
  return await keys(db).where('secret_hash', '=', hash).executeTakeFirst()
}

/** Newest first; `before` is the id of the last one seen. */
export async function listApiKeys(
  db: Db,
  page: { before: string | undefined; limit: number },
): Promise<ApiKey[]> {
  return await keys(db)
    .$if(page.before !== undefined, (query) => query.where('id', '<', page.before ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
}

/** Of these keys, those that open something now, with what they may do. */
export async function activeAmong(
  db: Db,
  ids: readonly string[],
  now: Date,
): Promise<Pick<ApiKey, 'id' | 'grants'>[]> {
  return await db
    .selectFrom('api_key')
    .select('id')
    .select(storedGrants(sql`'key:' || api_key.id`).as('grants'))
    .where('id', 'in', ids)
    .where('revoked_at', 'is', null)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .execute()
}

/** Returns false when the key was revoked before. */
export async function markRevoked(tx: Tx, id: string, now: Date): Promise<boolean> {
  const row = await tx
    .updateTable('api_key')
    .set({ revoked_at: now })
    .where('id', '=', id)
    .where('revoked_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Moves `last_used_at` forward only when it lies before `olderThan`. */
export async function touchApiKey(
  tx: Tx,
  id: string,
  times: { now: Date; olderThan: Date },
): Promise<void> {
  await tx
    .updateTable('api_key')
    .set({ last_used_at: times.now })
    .where('id', '=', id)
    .where((eb) =>
      eb.or([eb('last_used_at', 'is', null), eb('last_used_at', '<', times.olderThan)]),
    )
    .execute()
}
