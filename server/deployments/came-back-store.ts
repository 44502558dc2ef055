import { type Selectable, sql } from 'kysely'

import type { Tx } from '../db/client.ts'
import type { DeploymentTable } from '../db/schema.ts'

/** What a device says now that it runs of a component. */
export interface Runs {
  deviceId: string
  component: string
  build: number
}

export type GoneBack = Selectable<DeploymentTable> & { runs_build: number }

/**
 * Deployments that succeeded, of rollouts that have not ended, whose device runs something older again, locked. Not those of
 * a device that was given something older since, by a rollout back or by a person: there it is what it should run. Nor one that is not
 * the last of its rollout for the device: it counts once, by that. Build 0 is what was never released here: the device is back at
 * it only if that is where it came from.
 */
export async function lockGoneBack(tx: Tx, runs: readonly Runs[]): Promise<GoneBack[]> {
  return await tx
    .selectFrom(
      sql<Runs>`jsonb_to_recordset(${JSON.stringify(runs)}::jsonb)`.as<'now'>(
        sql`now("deviceId" uuid, component text, build bigint)`,
      ),
    )
    .innerJoin('deployment', (join) =>
      join
        .onRef('deployment.device_id', '=', 'now.deviceId')
        .onRef('deployment.component', '=', 'now.component'),
    )
    .innerJoin('release', 'release.id', 'deployment.release_id')
    .innerJoin('rollout', 'rollout.id', 'deployment.rollout_id')
    .selectAll('deployment')
    .select('now.build as runs_build')
    .where('deployment.state', '=', 'succeeded')
    .where('rollout.state', 'in', ['running', 'paused'])
    .whereRef('release.build', '>', 'now.build')
    .where(sql<boolean>`(now.build > 0 or coalesce(deployment.from_build, 0) = 0)`)
    .where(
      sql<boolean>`not exists (select from deployment later join release other on other.id = later.release_id
        where later.device_id = deployment.device_id and later.component = deployment.component
          and later.created_at >= deployment.created_at and later.id <> deployment.id
          and (later.rollout_id = deployment.rollout_id or other.build < release.build))`,
    )
    .orderBy('deployment.id')
    .forUpdate('deployment')
    .execute()
}
