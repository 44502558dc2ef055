import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { withinReach } from '../db/reach.ts'
import { type DeploymentState, endedStates } from '../protocol/deployment.ts'
import type { Reach } from '../protocol/reach.ts'

/** What became of one device in a rollout. */
export interface ResultRow {
  id: string
  device_id: string
  serial_number: string | null
  phase_no: number
  state: DeploymentState
  code: string | null
  detail: string | null
  attempts: number
  component: string
  created_at: Date
  first_offered_at: Date | null
  started_at: Date | null
  ended_at: Date | null
  from_build: number | null
  to_build: number | null
}

const unstarted = sql.join(
  ['queued', 'offered', 'postponed', 'opted_out'].map((state) => sql.lit(state)),
)
const ended = sql.join(endedStates.map((state) => sql.lit(state)))

/** A page of results in the order of the devices' ids, which an index has: a page costs a page, whatever the size of the rollout. */
export async function resultsAfter(
  db: Db,
  { rolloutId, reach }: { rolloutId: string; reach: Reach },
  after: { deviceId: string; id: string } | undefined,
  limit: number,
): Promise<ResultRow[]> {
  const { deviceId, id } = after ?? { deviceId: first, id: first }
  const { rows } = await sql<ResultRow>`
    select deployment.id, deployment.device_id, device.serial_number, deployment.phase_no, deployment.state,
      deployment.code, deployment.detail, deployment.attempts, deployment.component, deployment.created_at,
      deployment.first_offered_at, (select min(step.at) from deployment_event step
        where step.deployment_id = deployment.id and step.to_state not in (${unstarted}, ${ended})) as started_at,
      case when deployment.state in (${ended}) then deployment.changed_at end as ended_at,
      deployment.from_build, release.build as to_build
    from deployment
    join device on device.id = deployment.device_id
    left join release on release.id = deployment.release_id
    where deployment.rollout_id = ${rolloutId} and ${withinReach('deployment.device_id', reach)}
      and (deployment.device_id, deployment.id) > (${deviceId}::uuid, ${id}::uuid)
    order by deployment.device_id, deployment.id limit ${limit}`.execute(db)
  return rows
}

const first = '00000000-0000-0000-0000-000000000000'

export async function rolloutExists(db: Db, id: string): Promise<boolean> {
  const row = await db.selectFrom('rollout').select('id').where('id', '=', id).executeTakeFirst()
  return row !== undefined
}
