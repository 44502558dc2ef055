import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { isManaged } from '../db/managed.ts'
import type { DeploymentEventTable, DeploymentTable } from '../db/schema.ts'
import { openStates } from '../protocol/deployment.ts'

export interface JudgedDeployment extends Selectable<DeploymentTable> {
  artifact_sha256: string
  release_class: 'security' | 'feature' | 'config'
  release_advisory: unknown
  rollout_policy: unknown
  model_policy: unknown
  managed: boolean
  release_version: string
  /** Two people decided over its owner. */
  overridden: boolean
  installed_sha256: string | null
  busy: boolean
}

/**
 * The deployments with these ids and the open ones of these devices, locked until the transaction ends, with what is needed
 * to judge what is said about them. In one order everywhere, so that two groups cannot wait for each other in a circle.
 */
export async function lockDeployments(
  tx: Tx,
  { ids = [], openOf = [] }: { ids?: readonly string[]; openOf?: readonly string[] },
): Promise<JudgedDeployment[]> {
  return await tx
    .selectFrom('deployment')
    .innerJoin('rollout', 'rollout.id', 'deployment.rollout_id')
    .innerJoin('release', 'release.id', 'deployment.release_id')
    .innerJoin('artifact', 'artifact.id', 'release.artifact_id')
    .innerJoin('model', 'model.name', 'release.model')
    .innerJoin('device', 'device.id', 'deployment.device_id')
    .selectAll('deployment')
    .select((eb) => [
      'artifact.sha256 as artifact_sha256',
      'release.class as release_class',
      'release.advisory as release_advisory',
      'rollout.policy as rollout_policy',
      'model.policy as model_policy',
      isManaged().as('managed'),
      'release.version as release_version',
      // Whatever its time: what the device did while it was in force may be reported later.
      sql<boolean>`exists (select from update_override override where override.deployment_id = deployment.id
        and override.approved_at is not null)`.as('overridden'),
      // Nothing, while one of those that came with it does not run.
      sql<string | null>`(select i->>'sha256' from jsonb_array_elements(device.installed) i
        where i->>'component' = deployment.component and not exists (
          select from rollout_companion companion
          join release along on along.id = companion.release_id
          join artifact bytes on bytes.id = along.artifact_id
          where companion.rollout_id = deployment.rollout_id and not deployment.is_step and not exists (
            select from jsonb_to_recordset(device.installed) runs(component text, build bigint, sha256 text)
            where runs.component = along.component
              and (runs.sha256 = bytes.sha256 or runs.build > along.build)))
        limit 1)`.as('installed_sha256'),
      eb
        .exists(
          eb
            .selectFrom('deployment as other')
            .select('other.id')
            .whereRef('other.device_id', '=', 'deployment.device_id')
            .whereRef('other.component', '=', 'deployment.component')
            .whereRef('other.id', '<>', 'deployment.id')
            .where('other.state', 'in', openStates),
        )
        .as('busy'),
    ])
    .where((eb) =>
      eb.or([
        eb('deployment.id', '=', sql<string>`any(${[...ids]}::uuid[])`),
        eb.and([
          eb('deployment.device_id', '=', sql<string>`any(${[...openOf]}::uuid[])`),
          eb('deployment.state', 'in', openStates),
        ]),
      ]),
    )
    .orderBy('deployment.id')
    .forUpdate('deployment')
    .$castTo<JudgedDeployment>()
    .execute()
}

export type Past = Pick<
  Selectable<DeploymentEventTable>,
  'deployment_id' | 'to_state' | 'reported_at'
>

/** The history of several deployments. It is bounded: tries and postponements are. */
export async function historiesOf(tx: Tx, ids: readonly string[]): Promise<Past[]> {
  return await tx
    .selectFrom('deployment_event')
    .select(['deployment_id', 'to_state', 'reported_at'])
    .where('deployment_id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .orderBy('seq')
    .execute()
}

/** The postponements that were granted before, to tell a message that came twice. */
export async function appliedPostponements(
  tx: Tx,
  ids: readonly string[],
): Promise<{ deployment_id: string | null; until: Date | null }[]> {
  return await tx
    .selectFrom('choice_event')
    .innerJoin('deployment', (join) =>
      join
        .onRef('deployment.device_id', '=', 'choice_event.device_id')
        .onRef('deployment.id', '=', 'choice_event.deployment_id'),
    )
    .select(['choice_event.deployment_id', 'choice_event.until'])
    .where('deployment.id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .where('choice_event.choice', '=', 'postpone')
    .where('choice_event.outcome', '=', 'applied')
    .execute()
}

/** What devices in `testing` have to bring back. */
export async function awaitedCommits(
  db: Db,
  deviceIds: readonly string[],
): Promise<{ deviceId: string; deploymentId: string; commitNonce: string }[]> {
  const { rows } = await sql<{ deviceId: string; deploymentId: string; commitNonce: string }>`
    select device_id as "deviceId", id as "deploymentId", commit_nonce as "commitNonce"
    from deployment where device_id = any(${[...deviceIds]}::uuid[])
      and state = 'testing' and commit_nonce is not null
    union all select device_id, id, commit_nonce
    from device_settings where device_id = any(${[...deviceIds]}::uuid[])
      and state = 'wanted' and commit_nonce is not null`.execute(db)
  return rows
}
