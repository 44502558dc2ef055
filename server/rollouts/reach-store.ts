import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { rolloutCovered } from '../db/reach.ts'
import type { Reach } from '../protocol/reach.ts'

/** Of these rollouts, those within a reach. */
export async function coveredAmong(
  db: Db,
  ids: readonly string[],
  reach: Reach,
): Promise<Set<string>> {
  const rows = await db
    .selectFrom('rollout')
    .select('id')
    .where('id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .where(rolloutCovered('rollout.id', reach))
    .execute()
  return new Set(rows.map(({ id }) => id))
}
