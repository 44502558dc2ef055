import { type RawBuilder, type Selectable, type SqlBool, sql } from 'kysely'

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

/** The same of rollouts back, which give each device a release of its own. */
export async function lockWithdrawnBack(tx: Tx, limit: number): Promise<Deployment[]> {
  return await tx
    .selectFrom('deployment')
    .innerJoin('rollout', 'rollout.id', 'deployment.rollout_id')
    .innerJoin('release', 'release.id', 'deployment.release_id')
    .selectAll('deployment')
    .where('rollout.kind', '=', 'rollback')
    .where('rollout.state', 'in', ['running', 'paused'])
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

/**
 * Those of running rollouts that were written before `since` and that the device never acknowledged. Certificates have a
 * worker of their own.
 */
export async function lockUnanswered(tx: Tx, since: Date, limit: number): Promise<Deployment[]> {
  return await tx
    .selectFrom('deployment')
    .innerJoin('rollout', 'rollout.id', 'deployment.rollout_id')
    .selectAll('deployment')
    .where('deployment.state', '=', 'queued')
    .where('deployment.changed_at', '<', since)
    .where('deployment.release_id', 'is not', null)
    .where('rollout.state', '=', 'running')
    .orderBy('deployment.changed_at')
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
  const start = startOf(limits, now)
  return await tx
    .selectFrom('deployment')
    .innerJoin('rollout', 'rollout.id', 'deployment.rollout_id')
    // Devices are looked up one by one, of what is past its limit: else the whole fleet is read to find that nothing is.
    .innerJoinLateral(
      (eb) =>
        eb
          .selectFrom('device')
          .select(['device.state', 'device.changed_at', 'device.model'])
          .whereRef('device.id', '=', 'deployment.device_id')
          .offset(0)
          .as('device'),
      (join) => join.onTrue(),
    )
    .selectAll('deployment')
    .select(sql<boolean>`not ${isInContact(now)}`.as('dark'))
    .where('deployment.state', 'in', Object.keys(limits) as DeploymentState[])
    .where('deployment.changed_at', '<', start)
    .where('device.changed_at', '<', start)
    .where(sql<boolean>`not exists ${incidentSince(start)}`)
    .where('device.state', '<>', 'disabled')
    // Said apart for the index `deployment_limit`: no limit is shorter.
    .where('deployment.changed_at', '<', new Date(now.getTime() - shortestMs))
    .orderBy('deployment.changed_at')
    .limit(limit)
    .forUpdate('deployment')
    .skipLocked()
    .$castTo<Overdue>()
    .execute()
}

/** What a rollout may set at the least (rollouts/limits-wire.ts). */
const shortestMs = 300_000

/** Whoever came into its state before this is past its limit, which a rollout may set for itself. */
function startOf(
  limits: Readonly<Partial<Record<DeploymentState, number>>>,
  now: Date,
): RawBuilder<Date> {
  const usual = Object.entries(limits).map(
    ([state, ms]) => sql`when ${sql.lit(state)} then ${ms}::float8`,
  )
  return sql<Date>`(${now}::timestamptz - coalesce((rollout.limits->>deployment.state)::float8,
    case deployment.state ${sql.join(usual, sql` `)} end) * interval '1 millisecond')`
}

/** Where no product says how often its devices poll. */
const usualPollS = 300

/** Connected, or heard of within three of the intervals in which it polls: it is slow, and not gone (rollouts.md §7). */
function isInContact(now: Date): RawBuilder<SqlBool> {
  return sql<SqlBool>`exists (select from device_presence presence
    where presence.device_id = deployment.device_id and (presence.connected or presence.last_seen_at
      >= ${now}::timestamptz - interval '3 seconds' * coalesce((select product.poll_seconds
        from ddi_device polling join ddi_product product on product.model = device.model
        where polling.device_id = deployment.device_id), ${sql.lit(usualPollS)})))`
}

function incidentSince(at: RawBuilder<Date>) {
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
