import { type RawBuilder, type SqlBool, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { type DeploymentState, endedStates } from '../protocol/deployment.ts'

/** A running rollout whose release fits a device, whatever share is open. */
export interface Candidate {
  device_id: string
  rollout_id: string
  release_id: string
  component: string
  build: number
  class: 'security' | 'feature' | 'config'
  version: string
  /** What runs of the component; null when nothing does. */
  runs_version: string | null
  seed: Buffer
  /** Cumulative shares of the open phases, in order. */
  open_percents: number[]
  /** The deployment of the same component that the device has open. */
  open: {
    id: string
    state: DeploymentState
    build: number
    version: string
    class: 'security' | 'feature' | 'config'
  } | null
}

/**
 * Is `device` one that `release` can be offered to (rollouts.md §4.1 and §4.4)? Active and in no disabled group; the model
 * and a hardware id agree; the build is higher than what runs, the security version not lower, the mandatory step and
 * the other components are there. A device that has nothing installed at all takes a release without a mandatory step.
 */
export function fits(): RawBuilder<SqlBool> {
  return sql<SqlBool>`(
    ${mayTakePart()}
    and device.model = release.model
    and device.hardware_ids && release.hardware_ids
    and ${buildFits()}
    and ${requirementsMet(companionsOfRollout)}
    and ${companionsFit(companionsOfRollout)}
  )`
}

/** Ids of the releases that come with the rollout's own. */
const companionsOfRollout = sql`(select companion.release_id from rollout_companion companion
  where companion.rollout_id = rollout.id)`

export function mayTakePart(): RawBuilder<SqlBool> {
  return sql<SqlBool>`(device.state = 'active' and not exists (
    select from incident join device_group_member blocked on blocked.group_id = incident.group_id
    where blocked.device_id = device.id and incident.closed_at is null))`
}

export function buildFits(): RawBuilder<SqlBool> {
  return sql<SqlBool>`(case when jsonb_array_length(device.installed) = 0
    then release.min_previous is null
    else exists (
      select from jsonb_to_recordset(device.installed) runs(component text, version text, build bigint, svn bigint)
      where runs.component = release.component and runs.build < release.build
        and runs.svn <= release.svn and runs.build >= coalesce(release.min_previous, 0)
        and not ${isLineBack()})
    end)`
}

/** A fix of an older maintenance line is no update for a device of a newer one, though its build is higher (updates.md 3.2). */
function isLineBack(): RawBuilder<SqlBool> {
  return sql<SqlBool>`coalesce(${lineSql('runs.version')} > ${lineSql('release.version')}, false)`
}

/** `lineOf` of protocol/version-line.ts, in SQL: two numbers, which compare in order; null for a version without a line. */
function lineSql(column: 'runs.version' | 'release.version'): RawBuilder<number[] | null> {
  const version = sql.raw(column)
  return sql`(regexp_match(${version}, '^v?(\\d{1,9})\\.(\\d{1,9})(?!\\d)'))::int[]`
}

/** Other components' least builds are there, or come along (updates.md section 4, step 8). */
export function requirementsMet(companions: RawBuilder<unknown>): RawBuilder<SqlBool> {
  return sql<SqlBool>`not exists (
    select from jsonb_each_text(release.requires) needs
    where not exists (
      select from jsonb_to_recordset(device.installed) runs(component text, build bigint)
      where runs.component = needs.key and runs.build >= needs.value::bigint)
    and not exists (
      select from release other where other.id in ${companions}
        and other.component = needs.key and other.build >= needs.value::bigint))`
}

/**
 * Every release that comes along can be installed beside it: the device has the component, at its build or above already, or
 * able to take it; and what it needs in turn is there or comes along too.
 */
export function companionsFit(companions: RawBuilder<unknown>): RawBuilder<SqlBool> {
  return sql<SqlBool>`not exists (
    select from release along where along.id in ${companions} and not (
      along.state = 'published' and device.hardware_ids && along.hardware_ids
      and exists (
        select from jsonb_to_recordset(device.installed) runs(component text, build bigint, svn bigint)
        where runs.component = along.component and (runs.build >= along.build
          or (runs.svn <= along.svn and runs.build >= coalesce(along.min_previous, 0))))
      and not exists (
        select from jsonb_each_text(along.requires) needs
        where not (needs.key = release.component and release.build >= needs.value::bigint)
          and not exists (
            select from jsonb_to_recordset(device.installed) runs(component text, build bigint)
            where runs.component = needs.key and runs.build >= needs.value::bigint)
          and not exists (
            select from release other where other.id in ${companions}
              and other.component = needs.key and other.build >= needs.value::bigint))))`
}

/** `bucketOf` of bucket.ts, in SQL: the first 13 hex digits are 52 bits. */
export function bucketSql(seed: RawBuilder<unknown>): RawBuilder<number> {
  return sql<number>`(('x' || left(encode(sha256(${seed} || uuid_send(device.id)), 'hex'), 13))::bit(52)::bigint
    / 4503599627370496.0::float8)`
}

/**
 * What running rollouts could be offered to these devices, in one statement and without a lock. Security releases come
 * first, then older rollouts. Left out: rollouts that met the device before, and releases it rolled back from.
 */
export async function candidatesFor(db: Db, deviceIds: readonly string[]): Promise<Candidate[]> {
  const ended = sql.join(endedStates.map((state) => sql.lit(state)))
  const { rows } = await sql<Candidate>`
    select device.id as device_id, rollout.id as rollout_id, rollout.release_id, release.component,
      release.build, release.class, release.version, rollout.seed,
      (select runs.version from jsonb_to_recordset(device.installed) runs(component text, version text)
        where runs.component = release.component limit 1) as runs_version,
      (select jsonb_agg(phase.percent order by phase.no) from rollout_phase phase
        where phase.rollout_id = rollout.id and phase.no <= rollout.phase_no) as open_percents,
      (select jsonb_build_object('id', other.id, 'state', other.state, 'build', runs.build,
          'version', runs.version, 'class', runs.class)
        from deployment other join release runs on runs.id = other.release_id
        where other.device_id = device.id and other.component = release.component
          and other.state not in (${ended}) limit 1) as open
    from device
    join device_group_member member on member.device_id = device.id
    join rollout on rollout.group_id = member.group_id and rollout.state = 'running'
    join release on release.id = rollout.release_id and release.state = 'published'
    where device.id = any(${[...deviceIds]}::uuid[])
      and ${fits()}
      and not exists (select from deployment met
        where met.rollout_id = rollout.id and met.device_id = device.id)
      and not exists (select from deployment past
        where past.device_id = device.id and past.release_id = release.id and past.state = 'rolled_back')
    order by device.id, (release.class = 'security') desc, rollout.created_at, rollout.id`.execute(
    db,
  )
  return rows
}

/**
 * Of these rollouts, those that are still running and have at least these phases open; they cannot be paused, cancelled or
 * advanced until the transaction ends.
 */
export async function holdRunning(
  tx: Tx,
  rolloutIds: readonly string[],
): Promise<Map<string, { phase_no: number }>> {
  const rows = await tx
    .selectFrom('rollout')
    .select(['id', 'phase_no'])
    .where('id', '=', sql<string>`any(${[...rolloutIds]}::uuid[])`)
    .where('state', '=', 'running')
    .orderBy('id')
    .forShare()
    .execute()
  return new Map(rows.map((row) => [row.id, row]))
}

/**
 * Is there a member of the rollout's group that it could still meet: in the share of the phases up to `percent`, able to
 * take part (or registered and still to enroll), and either never heard of or one that the release fits? Stops at the first one found.
 */
export async function someoneToMeet(db: Db, rolloutId: string, percent: number): Promise<boolean> {
  const { rows } = await sql`
    select from rollout
    join release on release.id = rollout.release_id
    join device_group_member member on member.group_id = rollout.group_id
    join device on device.id = member.device_id
    where rollout.id = ${rolloutId}
      and not exists (select from deployment met
        where met.rollout_id = rollout.id and met.device_id = device.id)
      and not exists (select from deployment past
        where past.device_id = device.id and past.release_id = release.id and past.state = 'rolled_back')
      and (${fits()} or device.state = 'registered' or (device.model is null and ${mayTakePart()}))
      and ${bucketSql(sql.raw('rollout.seed'))} < ${percent}::float8 / 100
    limit 1`.execute(db)
  return rows.length > 0
}

interface Previewed {
  reason: string | null
  phase: number | null
  n: number
}

/**
 * Every member of a group by why it could not be offered a release now (the first reason that applies, null when it could),
 * and by the phase it falls in when there is a seed. One statement that reads the whole group: for a person's question,
 * never for a worker.
 */
export async function previewGroup(
  db: Db,
  { groupId, releaseId, companions, seed, percents }: PreviewQuestion,
): Promise<Previewed[]> {
  const along = sql`(select unnest(${[...companions]}::uuid[]))`
  const bucket = seed ? bucketSql(sql`${seed}::bytea`) : sql`0::float8`
  const { rows } = await sql<Previewed>`
    with member_of as (
      select ${bucket} as bucket, case
        when not ${mayTakePart()} then 'device-blocked'
        when device.model is null then 'never-seen'
        when device.model <> release.model or not (device.hardware_ids && release.hardware_ids)
          then 'incompatible'
        when exists (select from deployment past where past.device_id = device.id
          and past.release_id = release.id and past.state = 'rolled_back') then 'rolled-back-before'
        when exists (select from jsonb_to_recordset(device.installed) runs(component text, build bigint)
          where runs.component = release.component and runs.build = release.build) then 'already-current'
        when exists (select from jsonb_to_recordset(device.installed) runs(component text, version text, build bigint, svn bigint)
          where runs.component = release.component
            and (runs.build > release.build or runs.svn > release.svn or ${isLineBack()})) then 'downgrade'
        when not ${buildFits()} then 'must-pass-through'
        when not ${requirementsMet(along)} or not ${companionsFit(along)} then 'incompatible'
        end as reason
      from device_group_member member
      join device on device.id = member.device_id
      join release on release.id = ${releaseId}
      where member.group_id = ${groupId})
    select reason,
      (select min(no)::int from unnest(${[...percents]}::float8[]) with ordinality phase(percent, no)
        where bucket < phase.percent / 100) as phase,
      count(*)::int as n
    from member_of group by 1, 2`.execute(db)
  return rows
}

export interface PreviewQuestion {
  groupId: string
  releaseId: string
  /** Of the releases that come with it. */
  companions: readonly string[]
  /** Absent: everybody counts as bucket 0. */
  seed?: Buffer
  /** Cumulative, rising. */
  percents: readonly number[]
}
