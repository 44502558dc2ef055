import { type Expression, type Selectable, type SqlBool, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { DeploymentTable } from '../db/schema.ts'
import { type DeploymentState, openStates, stoppableStates } from '../protocol/deployment.ts'
import type { RolloutState } from '../rollouts/state.ts'

type Deployment = Selectable<DeploymentTable>

/**
 * Deployments that a worker may end. Rows that somebody works on are left for the next time (`skip locked`), so workers
 * of several processes, devices and operators never wait for each other here.
 */

/** Those of rollouts that were cancelled or failed and may still be taken back; of a withdrawn release is the next one's to say. */
export async function lockCancelled(
  tx: Tx,
  limit: number,
): Promise<(Deployment & { rollout_state: RolloutState })[]> {
  return await tx
    .selectFrom('deployment')
    .innerJoin('rollout', 'rollout.id', 'deployment.rollout_id')
    // Without one: a certificate.
    .leftJoin('release', 'release.id', 'rollout.release_id')
    .selectAll('deployment')
    .select('rollout.state as rollout_state')
    .where('rollout.state', 'in', ['cancelled', 'failed'])
    .where('release.state', 'is distinct from', 'withdrawn')
    .where('deployment.state', 'in', stoppableStates)
    .limit(limit)
    .forUpdate('deployment')
    .skipLocked()
    .execute()
}

/** Those of withdrawn releases that may still be taken back, whatever became of their rollout. */
export async function lockWithdrawn(tx: Tx, limit: number): Promise<Deployment[]> {
  return await tx
    .selectFrom('deployment')
    // By way of the rollout, for the index `deployment_of_rollout`.
    .innerJoin('rollout', 'rollout.id', 'deployment.rollout_id')
    .innerJoin('release', 'release.id', 'rollout.release_id')
    .selectAll('deployment')
    .where('release.state', '=', 'withdrawn')
    .where('deployment.state', 'in', stoppableStates)
    .limit(limit)
    .forUpdate('deployment')
    .skipLocked()
    .execute()
}

/** The same where only the step on the way was withdrawn, and not what it leads to. */
export async function lockWithdrawnSteps(tx: Tx, limit: number): Promise<Deployment[]> {
  return await tx
    .selectFrom('deployment')
    .innerJoin('release', 'release.id', 'deployment.release_id')
    .selectAll('deployment')
    .where('deployment.is_step', '=', true)
    .where('release.state', '=', 'withdrawn')
    .where('deployment.state', 'in', stoppableStates)
    .limit(limit)
    .forUpdate('deployment')
    .skipLocked()
    .execute()
}

/** Open ones of devices that are gone for good. */
export async function lockGone(
  tx: Tx,
  deviceIds: readonly string[] | 'all',
  limit: number,
): Promise<Deployment[]> {
  return await tx
    .selectFrom('deployment')
    .innerJoin('device', 'device.id', 'deployment.device_id')
    .selectAll('deployment')
    .where('device.state', 'in', ['revoked', 'retired'])
    .where('deployment.state', 'in', openStates)
    .where((eb) =>
      deviceIds === 'all'
        ? eb.lit(true)
        : eb('device.id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`),
    )
    .limit(limit)
    .forUpdate('deployment')
    .skipLocked()
    .execute()
}

export type Overdue = Deployment & { dark: boolean }

/**
 * Started ones whose state is older than its limit. While a device or a group of it is disabled its time does not run, and
 * it starts again afterwards (`device.changed_at`, `incident.closed_at`): we ourselves keep it from reporting.
 */
export async function lockOverdue(
  tx: Tx,
  limits: Readonly<Partial<Record<DeploymentState, number>>>,
  now: Date,
  limit: number,
): Promise<Overdue[]> {
  const before = (ms: number) => new Date(now.getTime() - ms)
  return await tx
    .selectFrom('deployment')
    .innerJoin('device', 'device.id', 'deployment.device_id')
    .selectAll('deployment')
    .select((eb) =>
      eb
        .not(
          eb.exists(
            eb
              .selectFrom('device_presence')
              .select('device_presence.device_id')
              .whereRef('device_presence.device_id', '=', 'deployment.device_id')
              .where('device_presence.connected', '=', true),
          ),
        )
        .as('dark'),
    )
    .where((eb) =>
      eb.or(
        Object.entries(limits).map(([state, ms]): Expression<SqlBool> =>
          eb.and([
            eb('deployment.state', '=', state as DeploymentState),
            eb('deployment.changed_at', '<', before(ms)),
            eb('device.changed_at', '<', before(ms)),
            sql<boolean>`not exists ${incidentSince(before(ms))}`,
          ]),
        ),
      ),
    )
    .where('device.state', '<>', 'disabled')
    // Said apart for the index `deployment_limit`: the shortest of the limits.
    .where('deployment.changed_at', '<', before(Math.min(...Object.values(limits))))
    .orderBy('deployment.changed_at')
    .limit(limit)
    .forUpdate('deployment')
    .skipLocked()
    .$castTo<Overdue>()
    .execute()
}

function incidentSince(at: Date) {
  return sql`(select from incident join device_group_member member on member.group_id = incident.group_id
    where member.device_id = deployment.device_id
      and (incident.closed_at is null or incident.closed_at >= ${at}))`
}

/**
 * Of these devices, those that were told of an update, or were to be told that their new image is seen, before `since`, or of
 * an override that is in force, and did nothing: the message may be lost.
 */
export async function silentlyQueued(
  db: Db,
  deviceIds: readonly string[],
  { since, now }: { since: Date; now: Date },
): Promise<string[]> {
  const rows = await db
    .selectFrom('deployment')
    .select('device_id')
    .where('device_id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .where((eb) =>
      eb.or([
        // In `testing` it waits for the commit nonce, without which it will roll back a good image in the end.
        eb.and([eb('state', 'in', ['queued', 'testing']), eb('changed_at', '<', since)]),
        eb.and([
          eb('state', 'in', ['queued', 'offered', 'postponed', 'opted_out']),
          sql<boolean>`exists (select from update_override one where one.deployment_id = deployment.id
            and one.approved_at < ${since} and one.revoked_at is null and one.until > ${now})`,
        ]),
      ]),
    )
    .distinct()
    .execute()
  return rows.map((row) => row.device_id)
}

/** Of these devices, those that could begin with something that is neither put off nor unwanted. */
export async function notStartedAmong(db: Db, deviceIds: readonly string[]): Promise<string[]> {
  const rows = await db
    .selectFrom('deployment')
    .select('device_id')
    .distinct()
    .where('device_id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .where('state', 'in', ['queued', 'offered'])
    .execute()
  return rows.map((row) => row.device_id)
}

export async function lockUnstarted(
  tx: Tx,
  ids: readonly string[],
  states: readonly DeploymentState[],
): Promise<Deployment[]> {
  return await tx
    .selectFrom('deployment')
    .selectAll()
    .where('id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .where('state', 'in', states)
    .orderBy('id')
    .forUpdate()
    .execute()
}
