import { sql } from 'kysely'

import type { Tx } from '../db/client.ts'
import type { EventRow } from './store.ts'

/** Of all processes one looks at events at a time. */
const advisoryLock = 4_931_147

/**
 * The oldest events that no rule has looked at, at most `limit`; they count as looked at when the transaction commits. None while another process is
 * at it.
 */
export async function takeUnjudged(tx: Tx, limit: number): Promise<EventRow[]> {
  const { rows: locks } = await sql<{ mine: boolean }>`
    select pg_try_advisory_xact_lock(${advisoryLock}) as mine`.execute(tx)
  if (locks[0]?.mine !== true) return []
  const { rows } = await sql<EventRow>`update security_event set judged = true
    where id in (select id from security_event where not judged order by id limit ${limit}) returning *`.execute(
    tx,
  )
  return rows.toSorted((a, b) => (a.id < b.id ? -1 : 1))
}
