import type { Selectable } from 'kysely'

import type { Db } from '../db/client.ts'
import type { OperatorSessionTable } from '../db/schema.ts'

/** Open sessions of a person, newest first; there are 20 at most. `idleSince`: those that were not used since then have ended. */
export async function openSessionsOf(
  db: Db,
  personId: string,
  page: { now: Date; idleSince: Date; before: string | undefined; limit: number },
): Promise<Selectable<OperatorSessionTable>[]> {
  const { before } = page
  return await db
    .selectFrom('operator_session')
    .selectAll()
    .where('person_id', '=', personId)
    .where('ended_at', 'is', null)
    .where('expires_at', '>', page.now)
    .where('last_seen_at', '>', page.idleSince)
    .$if(before !== undefined, (query) => query.where('id', '<', before ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
}
