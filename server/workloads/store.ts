import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { type StoredGrant, storedGrants } from '../db/grants.ts'
import type { WorkloadIdentityTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'

export interface Workload extends Selectable<WorkloadIdentityTable> {
  /** What it may do now. */
  grants: StoredGrant[]
}

function workloads(db: Db) {
  return db
    .selectFrom('workload_identity')
    .selectAll('workload_identity')
    .select(storedGrants(sql`'workload:' || workload_identity.id`).as('grants'))
}

/** Those that trust an issuer, at most `limit`. */
export async function trusting(db: Db, issuer: string, limit: number): Promise<Workload[]> {
  return await workloads(db)
    .where('issuer', '=', issuer)
    .where('removed_at', 'is', null)
    .orderBy('id')
    .limit(limit)
    .execute()
}

export async function getWorkload(db: Db, id: string): Promise<Workload> {
  const row = await workloads(db).where('id', '=', id).executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such workload identity', { workloadId: id })
  return row
}

/** Newest first; `before` is the id of the last one seen. */
export async function listWorkloads(
  db: Db,
  { before, limit }: { before: string | undefined; limit: number },
): Promise<Workload[]> {
  return await workloads(db)
    .$if(before !== undefined, (query) => query.where('id', '<', before ?? ''))
    .orderBy('id', 'desc')
    .limit(limit)
    .execute()
}

/** How many there are that are in use. */
export async function countWorkloads(tx: Tx): Promise<number> {
  const { count } = await tx
    .selectFrom('workload_identity')
    .select((eb) => eb.fn.countAll<number>().as('count'))
    .where('removed_at', 'is', null)
    .executeTakeFirstOrThrow()
  return Number(count)
}

/** Stores one unless its id or its name is there already. Returns whether it was stored now. */
export async function insertWorkload(
  tx: Tx,
  row: Omit<Selectable<WorkloadIdentityTable>, 'last_used_at' | 'removed_at' | 'claims'> & {
    /** JSON text. */
    claims: string
  },
): Promise<boolean> {
  const inserted = await tx
    .insertInto('workload_identity')
    .values(row)
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

/** Returns false when it was removed before. */
export async function markRemoved(tx: Tx, id: string, now: Date): Promise<boolean> {
  const row = await tx
    .updateTable('workload_identity')
    // Another may take its name.
    .set({ removed_at: now, name: sql<string>`left(name, 60) || ' (' || id || ')'` })
    .where('id', '=', id)
    .where('removed_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

export async function touchWorkload(
  tx: Tx,
  id: string,
  times: { now: Date; olderThan: Date },
): Promise<void> {
  await tx
    .updateTable('workload_identity')
    .set({ last_used_at: times.now })
    .where('id', '=', id)
    .where((eb) =>
      eb.or([eb('last_used_at', 'is', null), eb('last_used_at', '<', times.olderThan)]),
    )
    .execute()
}

/** Of these those that are in use, with what they may do. */
export async function workloadsAmong(
  db: Db,
  ids: readonly string[],
): Promise<Pick<Workload, 'id' | 'grants'>[]> {
  return await workloads(db).where('id', 'in', ids).where('removed_at', 'is', null).execute()
}
