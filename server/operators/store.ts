import type { Selectable } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { ApiKeyTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'

export type ApiKey = Selectable<ApiKeyTable>

export async function getApiKey(db: Db, id: string): Promise<ApiKey> {
  const row = await db.selectFrom('api_key').selectAll().where('id', '=', id).executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such API key', { keyId: id })
  return row
}

export async function findApiKeyByHash(db: Db, hash: Buffer): Promise<ApiKey | undefined> {
  return await db
    .selectFrom('api_key')
    .selectAll()
    .where('secret_hash', '=', hash)
    .executeTakeFirst()
}

/** Newest first; `before` is the id of the last one seen. */
export async function listApiKeys(
  db: Db,
  page: { before: string | undefined; limit: number },
): Promise<ApiKey[]> {
  return await db
    .selectFrom('api_key')
    .selectAll()
    .$if(page.before !== undefined, (query) => query.where('id', '<', page.before ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
}

/** Ids of the admin keys that open something now, locked: two revocations at once see each other. */
export async function lockActiveAdminKeys(tx: Tx, now: Date): Promise<string[]> {
  const rows = await tx
    .selectFrom('api_key')
    .select('id')
    .where('role', '=', 'admin')
    .where('revoked_at', 'is', null)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .orderBy('id')
    .forUpdate()
    .execute()
  return rows.map((row) => row.id)
}

/** Of these keys, those that open something now. */
export async function activeAmong(db: Db, ids: readonly string[], now: Date): Promise<string[]> {
  const rows = await db
    .selectFrom('api_key')
    .select('id')
    .where('id', 'in', ids)
    .where('revoked_at', 'is', null)
    .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .execute()
  return rows.map((row) => row.id)
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
