import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { type StoredGrant, storedGrants } from '../db/grants.ts'
import type { ApiKeyTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'

export interface ApiKey extends Selectable<ApiKeyTable> {
  /** What it may do now. */
  grants: StoredGrant[]
  /** Of the person who owns it. */
  owner_state: string | null
}

function keys(db: Db) {
  return db
    .selectFrom('api_key')
    .leftJoin('person', 'person.id', 'api_key.owner_id')
    .selectAll('api_key')
    .select('person.state as owner_state')
    .select(storedGrants(sql`'key:' || api_key.id`).as('grants'))
}

export async function getApiKey(db: Db, id: string): Promise<ApiKey> {
  const row = await keys(db).where('api_key.id', '=', id).executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such API key', { keyId: id })
  return row
}

/** By the secret that works, or by the one before it, whether or not that still does. */
export async function findApiKeyByHash(db: Db, hash: Buffer): Promise<ApiKey | undefined> {
  return await keys(db)
    .where((eb) => eb.or([eb('secret_hash', '=', hash), eb('previous_hash', '=', hash)]))
    .executeTakeFirst()
}

/** Newest first; `before` is the id of the last one seen. */
export async function listApiKeys(
  db: Db,
  page: { before: string | undefined; limit: number },
): Promise<ApiKey[]> {
  return await keys(db)
    .$if(page.before !== undefined, (query) => query.where('api_key.id', '<', page.before ?? ''))
    .orderBy('api_key.id', 'desc')
    .limit(page.limit)
    .execute()
}

/** Of these keys, those that open something now, with what they may do. */
export async function activeAmong(
  db: Db,
  ids: readonly string[],
  now: Date,
): Promise<Pick<ApiKey, 'id' | 'grants'>[]> {
  return await keys(db)
    .where('api_key.id', 'in', ids)
    .where('revoked_at', 'is', null)
    .where((eb) => eb.or([eb('owner_id', 'is', null), eb('person.state', '=', 'active')]))
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

/** Puts another secret in place of the present one, which goes on for a while. False when the key is revoked, or was rotated so already. */
export async function rotateSecret(
  tx: Tx,
  id: string,
  next: {
    hash: Buffer
    prefix: string
    rotationId: string
    /** Who sees the new secret, where that says who the key speaks for. */
    maker: string
    now: Date
    overlapEndsAt: Date
  },
): Promise<boolean> {
  const row = await tx
    .updateTable('api_key')
    .set((eb) => ({
      previous_hash: eb.ref('secret_hash'),
      secret_hash: next.hash,
      prefix: next.prefix,
      created_by: next.maker,
      overlap_ends_at: next.overlapEndsAt,
      rotation_id: next.rotationId,
      rotated_at: next.now,
    }))
    .where('id', '=', id)
    .where('revoked_at', 'is', null)
    .where((eb) => eb.or([eb('rotation_id', 'is', null), eb('rotation_id', '<>', next.rotationId)]))
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
