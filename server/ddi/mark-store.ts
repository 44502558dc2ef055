import { sql } from 'kysely'

import type { Db } from '../db/client.ts'

/**
 * A text that changes when something does that may give many devices something to do, or another interval: which rollouts run and how far
 * they are, and who polls how. One statement over a few rows.
 */
export async function readMark(db: Db): Promise<string> {
  const { rows } = await sql<{ mark: string }>`
    select concat_ws('/',
      (select count(*) || ' ' || coalesce(md5(string_agg(concat_ws(' ', id, phase_no, changed_at), ',' order by id)), '')
        from rollout where state = 'running'),
      (select count(*) || ' ' || coalesce(max(changed_at)::text, '') from ddi_product),
      (select count(*) || ' ' || coalesce(max(changed_at)::text, '') from ddi_line)) as mark`.execute(
    db,
  )
  const [row] = rows
  if (!row) throw new Error('The database gave no mark')
  return row.mark
}
