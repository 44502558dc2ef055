import { sql } from 'kysely'

import type { Tx } from '../db/client.ts'

/** Of all processes one hands events on at a time, the oldest first: what was written later is never handed on before. */
const advisoryLock = 4_931_145

/** How many events are kept, whatever their age. */
export const mostEvents = 1_000_000

/**
 * Takes the oldest events that wait, at most `limit`, and counts them as handed on when the transaction commits.
 *
 * @returns their ids; undefined while another process is at it
 */
export async function takeEvents(
  tx: Tx,
  { limit, now }: { limit: number; now: Date },
): Promise<string[] | undefined> {
  const { rows: locks } = await sql<{ mine: boolean }>`
    select pg_try_advisory_xact_lock(${advisoryLock}) as mine`.execute(tx)
  if (locks[0]?.mine !== true) return undefined
  const { rows } = await sql<{ id: string }>`update outbox_event set relayed_at = ${now}
    where seq in (select seq from outbox_event where relayed_at is null order by seq limit ${limit})
    returning id`.execute(tx)
  return rows.map(({ id }) => id)
}

/** Removes up to `limit` events from before an instant, and those above the number that is kept; their deliveries go with them. */
export async function forgetOutbox(tx: Tx, before: Date, limit: number): Promise<number> {
  const { rows } = await sql<{ seq: number }>`delete from outbox_event where seq in (
    select seq from (select seq, at from outbox_event order by seq limit ${limit}) as oldest
    where at < ${before} or seq <= (select max(seq) from outbox_event) - ${mostEvents}::bigint
  ) returning seq`.execute(tx)
  return rows.length
}
