import { sql } from 'kysely'

import type { Tx } from '../db/client.ts'

/** Removes up to `limit` alerts that were resolved before an instant, and mails of before it. */
export async function forgetAlerts(tx: Tx, before: Date, limit: number): Promise<number> {
  const { rows } = await sql`delete from alert where id in (
    select id from alert where state = 'resolved' and resolved_at < ${before} limit ${limit}
  ) returning id`.execute(tx)
  const { rows: mails } = await sql`delete from alert_mail where id in (
    select id from alert_mail where created_at < ${before} and state <> 'pending' limit ${limit}
  ) returning id`.execute(tx)
  return Math.max(rows.length, mails.length)
}
