import { type Selectable, sql } from 'kysely'

import type { Db } from '../db/client.ts'
import type { RolloutTable } from '../db/schema.ts'

export async function rolloutsById(
  db: Db,
  ids: readonly string[],
): Promise<Selectable<RolloutTable>[]> {
  return await db
    .selectFrom('rollout')
    .selectAll()
    .where('id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .execute()
}
