import { sql } from 'kysely'

import type { Tx } from '../db/client.ts'
import { firstIdOf } from '../ids.ts'

/** Removes up to `limit` events that were recorded before an instant, the oldest first. Returns how many. */
export async function forgetEvents(tx: Tx, before: Date, limit: number): Promise<number> {
  // Ids are made of the time: the oldest are found at the beginning of the index that is there anyway.
  const { rows } = await sql`delete from security_event where id in (
    select id from security_event where id < ${firstIdOf(before)}::uuid order by id limit ${limit}
  ) returning id`.execute(tx)
  return rows.length
}
