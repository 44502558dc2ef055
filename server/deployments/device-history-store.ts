import { type Selectable, sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { rolloutCovered } from '../db/reach.ts'
import type { DeploymentTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import type { Reach } from '../protocol/reach.ts'

export interface Said {
  state: DeploymentState
  code: string | null
  detail: string | null
  at: string
}

export type PastDeployment = Selectable<DeploymentTable> & {
  /** Null: the rollout is outside the reach of whoever asks. */
  rollout_name: string | null
  version: string | null
  said: Said[]
}

const wordsShown = 20

/** Everything that was ever given to a device, newest first, with the last things it said when something went wrong. */
export async function pastOf(
  db: Db,
  { deviceId, reach }: { deviceId: string; reach: Reach },
  before: string | undefined,
  limit: number,
): Promise<PastDeployment[]> {
  const { rows } = await sql<PastDeployment>`
    select deployment.*, case when ${rolloutCovered('rollout.id', reach)} then rollout.name end as rollout_name, release.version,
      (select coalesce(jsonb_agg(jsonb_build_object('state', last.to_state, 'code', last.code, 'detail', last.detail,
          'at', to_char(last.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) order by last.seq), '[]')
        from (select * from deployment_event step where step.deployment_id = deployment.id
            and (step.code is not null or step.detail is not null)
          order by step.seq desc limit ${wordsShown}) last) as said
    from deployment
    join rollout on rollout.id = deployment.rollout_id
    left join release on release.id = deployment.release_id
    where deployment.device_id = ${deviceId} and deployment.id < ${before ?? last}::uuid
    order by deployment.id desc limit ${limit}`.execute(db)
  if (rows.length === 0) await mustExist(db, deviceId)
  return rows
}

const last = 'ffffffff-ffff-ffff-ffff-ffffffffffff'

async function mustExist(db: Db, deviceId: string): Promise<void> {
  const row = await db
    .selectFrom('device')
    .select('id')
    .where('id', '=', deviceId)
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such device', { deviceId })
}
