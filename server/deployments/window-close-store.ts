import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { type WindowFacts, windowFacts } from '../db/window-facts.ts'

/** Where a page of what has begun ended: it is read in the order of the index `deployment_limit`, so that what has ended costs nothing. */
export interface Begun {
  id: string
  changed_at: Date
}

/**
 * What has begun before `until` and is not verified yet, where some window has a hard end; in order, after `after`. Certificates know
 * no windows.
 */
export async function downloadingInWindows(
  db: Db,
  { after, until, limit }: { after: Begun; until: Date; limit: number },
): Promise<(Begun & { facts: WindowFacts })[]> {
  const { rows } = await sql<Begun & { facts: WindowFacts }>`
    select deployment.id, deployment.changed_at, ${windowFacts()} as facts
    from deployment
    join rollout on rollout.id = deployment.rollout_id
    join device on device.id = deployment.device_id
    where deployment.state in ('accepted', 'downloading') and deployment.release_id is not null
      and deployment.changed_at >= ${after.changed_at} and deployment.changed_at <= ${until}
      and (deployment.changed_at, deployment.id) > (${after.changed_at}::timestamptz, ${after.id}::uuid)
      and (rollout.install_window->'hardClose' = 'true'
        or exists (select from maintenance_window own
          where own.device_id = device.id and own.rule->'hardClose' = 'true')
        or exists (select from device_group_member of_group
          join maintenance_window own on own.group_id = of_group.group_id
          where of_group.device_id = device.id and own.rule->'hardClose' = 'true'))
    order by deployment.changed_at, deployment.id limit ${limit}`.execute(db)
  return rows
}

/** Has any window a hard end at all? */
export async function isAnyHard(db: Db): Promise<boolean> {
  const { rows } = await sql<{ is_any: boolean }>`
    select exists (select from maintenance_window where rule->'hardClose' = 'true')
      or exists (select from rollout where install_window->'hardClose' = 'true') as is_any`.execute(
    db,
  )
  return rows[0]?.is_any ?? true
}
