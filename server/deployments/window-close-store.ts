import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { type WindowFacts, windowFacts } from '../db/window-facts.ts'

/** In the order of their ids: what has begun and is not verified yet, where some window has a hard end. Certificates know no windows. */
export async function downloadingInWindows(
  db: Db,
  after: string,
  limit: number,
): Promise<{ id: string; facts: WindowFacts }[]> {
  const { rows } = await sql<{ id: string; facts: WindowFacts }>`
    select deployment.id, ${windowFacts()} as facts
    from deployment
    join rollout on rollout.id = deployment.rollout_id
    join device on device.id = deployment.device_id
    where deployment.state in ('accepted', 'downloading') and deployment.release_id is not null and deployment.id > ${after}
      and (rollout.install_window->'hardClose' = 'true'
        or exists (select from maintenance_window own
          where own.device_id = device.id and own.rule->'hardClose' = 'true')
        or exists (select from device_group_member of_group
          join maintenance_window own on own.group_id = of_group.group_id
          where of_group.device_id = device.id and own.rule->'hardClose' = 'true'))
    order by deployment.id limit ${limit}`.execute(db)
  return rows
}
