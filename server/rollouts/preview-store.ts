import { type RawBuilder, type SqlBool, sql } from 'kysely'

import type { Db } from '../db/client.ts'
import {
  bucketSql,
  failureColumns,
  hasFirstStep,
  isExpiring,
  needsStep,
  unfitness,
} from '../db/release-fit.ts'

interface Previewed {
  reason: string | null
  /** The phases that would take them, in order. */
  phases: number[]
  contact: Contact
  n: number
}

/** When a device was last heard of: it is connected, or was seen within a day or a week; else nobody knows when it comes. */
export type Contact = 'now' | 'day' | 'week' | 'never'

/** More members than this are looked at as a sample. */
export const mostLookedAt = 100_000

const slices = 1_000_000

export async function countMembers(db: Db, groupId: string): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from device_group_member where group_id = ${groupId}`.execute(db)
  return rows[0]?.n ?? 0
}

/**
 * Every member of a group by why it could not be offered a release now (the first reason that applies, null when it could), by
 * the phases that would take it, and by when it was last heard of. A share takes those below it when there is a seed, else
 * everybody. One statement that reads the whole group, or the part of it that is asked for (of a large group the same devices
 * each time): for a person's question, never for a worker.
 */
export async function previewGroup(
  db: Db,
  { groupId, releaseId, companions, matching, rollout, phases, part = 1, now }: PreviewQuestion,
): Promise<Previewed[]> {
  const along = sql`(select unnest(${[...companions]}::uuid[]))`
  const share = rollout
    ? sql`${bucketSql(sql`${rollout.seed}::bytea`)} < phase.percent / 100`
    : sql`true`
  const isBack = rollout?.isBack ? sql<SqlBool>`true` : sql<SqlBool>`false`
  // A rollout back gives each device what it had.
  const given = rollout?.isBack
    ? sql`coalesce((select target.release_id from rollback_target target
        where target.rollout_id = ${rollout.id} and target.device_id = device.id), ${releaseId})`
    : sql`${releaseId}`
  const extents = sql`jsonb_to_recordset(${JSON.stringify(phases)}::jsonb)
    phase(no int, kind text, percent float8, cohort_id uuid, seen_within_s bigint)`
  const { rows } = await sql<Previewed>`
    with member_of as (
      select case when (${matching}) is not true then 'not-targeted' else coalesce(${unfitness(along, isBack)},
          case when ${isExpiring(now)} then 'certificate-expiring'
            when ${needsStep()} and not ${hasFirstStep()} then 'must-pass-through'
            when failures.failed_at is not null and not ${isBack} then 'penalty' end) end as reason,
        case when presence.connected then 'now'
          when presence.last_seen_at > ${now}::timestamptz - interval '1 day' then 'day'
          when presence.last_seen_at > ${now}::timestamptz - interval '7 days' then 'week' else 'never' end as contact,
        array(select phase.no from ${extents}
          where case phase.kind when 'percent' then ${share} when 'cohort' then ${inCohort(rollout)} else true end
            and (phase.seen_within_s is null or exists (select from device_presence presence
              where presence.device_id = device.id
                and presence.last_seen_at >= ${now}::timestamptz - phase.seen_within_s * interval '1 second'))
          order by phase.no) as phases
      from device_group_member member
      join device on device.id = member.device_id
      join release on release.id = ${given}
      left join device_presence presence on presence.device_id = device.id
      cross join lateral (select ${failureColumns(now)}) failures
      where member.group_id = ${groupId}
        and (${part}::float8 >= 1 or (uuid_hash(member.device_id)::bigint & 2147483647) % ${sql.lit(slices)}
          < ${part}::float8 * ${sql.lit(slices)}))
    select reason, phases, contact, count(*)::int as n
    from member_of group by 1, 2, 3`.execute(db)
  return rows
}

/** As it was frozen; as it stands before the start. */
function inCohort(rollout: PreviewQuestion['rollout']) {
  const frozen = rollout
    ? sql`exists (select from rollout_cohort_member cohort where cohort.rollout_id = ${rollout.id}
        and cohort.phase_no = phase.no and cohort.device_id = device.id)`
    : sql`false`
  if (rollout?.started) return frozen
  return sql`(${frozen} or exists (select from device_group_member cohort
    where cohort.group_id = phase.cohort_id and cohort.device_id = device.id))`
}

export interface PreviewQuestion {
  groupId: string
  releaseId: string
  /** Of the releases that come with it. */
  companions: readonly string[]
  /** Which members are meant. */
  matching: RawBuilder<SqlBool>
  /** Absent for a definition. */
  rollout?: { id: string; seed: Buffer; started: boolean; isBack: boolean }
  phases: readonly PreviewPhase[]
  /** Of a large group: which part of it is looked at. */
  part?: number
  now: Date
}

export interface PreviewPhase {
  no: number
  kind?: 'percent' | 'count' | 'cohort' | undefined
  percent?: number | null | undefined
  count?: number | null | undefined
  cohort_id?: string | null | undefined
  seen_within_s?: number | null | undefined
}

/** Bytes of the images of these releases. */
export async function sizeOf(db: Db, releaseIds: readonly string[]): Promise<number> {
  const { rows } = await sql<{ size: number }>`
    select coalesce(sum(artifact.size), 0)::bigint as size
    from release join artifact on artifact.id = release.artifact_id
    where release.id = any(${[...releaseIds]}::uuid[])`.execute(db)
  return rows[0]?.size ?? 0
}
