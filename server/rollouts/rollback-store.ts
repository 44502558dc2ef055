import { type RawBuilder, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { withinReach } from '../db/reach.ts'
import { mayTakePart } from '../db/release-fit.ts'
import type { Reach } from '../protocol/reach.ts'

/** Why a device of a rollout cannot be given back what it had. */
export const noWayBack = [
  'device-blocked',
  'left-group',
  'unknown-before',
  'no-release',
  'withdrawn',
  'security-version',
  'incompatible',
] as const
export type NoWayBack = (typeof noWayBack)[number]

/**
 * Every device that a rollout gave its release to (succeeded, testing, lost), with the release that it ran before: by what it
 * said when it was admitted, else by its last deployment that succeeded. `reason` is null where the device can go back. The
 * security version of what it had may not be below that of what it was given: devices refuse that, whoever signs it.
 */
function wayBack({ rolloutId, reach }: Asked): RawBuilder<unknown> {
  return sql`
    with given as (
      select distinct on (own.device_id) own.device_id, own.component, own.created_at, own.from_build, release.model, release.svn
      from deployment own
      join rollout on rollout.id = own.rollout_id
      join release on release.id = rollout.release_id
      where own.rollout_id = ${rolloutId} and exists (select from deployment given
        where given.rollout_id = own.rollout_id and given.device_id = own.device_id
          and given.release_id = rollout.release_id and given.state in ('succeeded', 'testing', 'lost'))
      order by own.device_id, own.created_at, own.id),
    before as (
      select given.*, coalesce(given.from_build, (
        select built.build from deployment past join release built on built.id = past.release_id
        where past.device_id = given.device_id and past.component = given.component and past.state = 'succeeded'
          and past.created_at < given.created_at and past.rollout_id <> ${rolloutId}
        order by past.created_at desc limit 1)) as build
      from given)
    select before.device_id, back.id as release_id, case
      when not ${mayTakePart()} then 'device-blocked'
      when not exists (select from device_group_member member join rollout on rollout.group_id = member.group_id
        where rollout.id = ${rolloutId} and member.device_id = device.id) then 'left-group'
      when before.build is null then 'unknown-before'
      when back.id is null then 'no-release'
      when back.state <> 'published' then 'withdrawn'
      when back.svn < before.svn then 'security-version'
      when not (device.hardware_ids && back.hardware_ids) then 'incompatible'
      end as reason
    from before
    join device on device.id = before.device_id
    left join lateral (
      select other.id, other.state, other.svn, other.hardware_ids from release other
      where other.model = before.model and other.component = before.component and other.build = before.build
        and other.state in ('published', 'withdrawn')
      order by other.state = 'published' desc, other.id desc limit 1) back on true
    where ${withinReach('before.device_id', reach)}`
}

/** Whoever is limited to groups is told of the devices that are in them now. */
interface Asked {
  rolloutId: string
  reach: Reach
}

export interface WayBack {
  release_id: string | null
  reason: NoWayBack | null
  n: number
}

/** How many devices can go back to what, and why the others cannot; the most first. Reads the rollout's deployments. */
export async function countWaysBack(db: Db, asked: Asked): Promise<WayBack[]> {
  const { rows } = await sql<WayBack>`
    select way.release_id, way.reason, count(*)::int as n from (${wayBack(asked)}) way
    group by 1, 2 order by (way.reason is null) desc, count(*) desc, 1, 2`.execute(db)
  return rows
}

/** Devices that cannot, in the order of their ids. */
export async function listNoWayBack(
  db: Db,
  asked: Asked,
  { after, limit }: { after: string | undefined; limit: number },
): Promise<{ device_id: string; release_id: string | null; reason: NoWayBack }[]> {
  const { rows } = await sql<{ device_id: string; release_id: string | null; reason: NoWayBack }>`
    select way.device_id, way.release_id, way.reason from (${wayBack(asked)}) way
    where way.reason is not null and (${after ?? null}::uuid is null or way.device_id > ${after ?? null}::uuid)
    order by way.device_id limit ${limit}`.execute(db)
  return rows
}

/** Keeps who goes back to what; the list never grows. Says how many. */
export async function freezeWaysBack(
  tx: Tx,
  { rolloutId, parentId }: { rolloutId: string; parentId: string },
): Promise<number> {
  await sql`
    insert into rollback_target (rollout_id, device_id, release_id)
    select ${rolloutId}, way.device_id, way.release_id from (${wayBack({ rolloutId: parentId, reach: 'fleet' })}) way
    where way.reason is null`.execute(tx)
  const { numAffectedRows = 0n } = await sql`
    insert into rollout_cohort_member (rollout_id, phase_no, device_id)
    select rollout_id, 1, device_id from rollback_target where rollout_id = ${rolloutId}`.execute(
    tx,
  )
  return Number(numAffectedRows)
}

/** Keeps who failed, for another try; the list never grows. Says how many. */
export async function freezeFailed(
  tx: Tx,
  { rolloutId, parentId }: { rolloutId: string; parentId: string },
): Promise<number> {
  const { numAffectedRows = 0n } = await sql`
    insert into rollout_cohort_member (rollout_id, phase_no, device_id)
    select distinct ${rolloutId}::uuid, 1, device_id from deployment
    where rollout_id = ${parentId} and state in ('failed_final', 'rolled_back', 'lost')`.execute(tx)
  return Number(numAffectedRows)
}

/** A rollout of this kind that came from this one and is not over; undefined when there is none. */
export async function findOpenChild(
  db: Db,
  parentId: string,
  kind: 'retry' | 'rollback',
): Promise<string | undefined> {
  const row = await db
    .selectFrom('rollout')
    .select('id')
    .where('parent_id', '=', parentId)
    .where('kind', '=', kind)
    .where('state', 'in', ['draft', 'approved', 'running', 'paused'])
    .executeTakeFirst()
  return row?.id
}
