import { sql } from 'kysely'

import type { Tx } from '../db/client.ts'

/** Forgets identity changes that every process has re-read long ago, at most `limit` of them. Returns how many. */
export async function forgetIdentityChanges(tx: Tx, before: Date, limit: number): Promise<number> {
  const rows = await tx
    .deleteFrom('identity_change')
    .where('seq', '=', (eb) =>
      eb.fn<number>('any', [
        sql`array(select seq from identity_change where at < ${before} order by seq limit ${limit} for update skip locked)`,
      ]),
    )
    .returning('seq')
    .execute()
  return rows.length
}
