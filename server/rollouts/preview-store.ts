import { type RawBuilder, type SqlBool, sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { bucketSql, needsStep, unfitness } from '../db/release-fit.ts'

interface Previewed {
  reason: string | null
  /** The phases that would take them, in order. */
  phases: number[]
  n: number
}

/**
 * Every member of a group by why it could not be offered a release now (the first reason that applies, null when it could),
 * and by the phases that would take it. A share takes those below it when there is a seed, else everybody. One statement that reads the whole group: for a person's question,
 * never for a worker.
 */
export async function previewGroup(
  db: Db,
  { groupId, releaseId, companions, matching, rollout, phases, now }: PreviewQuestion,
): Promise<Previewed[]> {
  const along = sql`(select unnest(${[...companions]}::uuid[]))`
  const share = rollout
    ? sql`${bucketSql(sql`${rollout.seed}::bytea`)} < phase.percent / 100`
    : sql`true`
  const extents = sql`jsonb_to_recordset(${JSON.stringify(phases)}::jsonb)
    phase(no int, kind text, percent float8, cohort_id uuid, seen_within_s bigint)`
  const { rows } = await sql<Previewed>`
    with member_of as (
      select case when not (${matching}) is true then 'not-targeted' else coalesce(${unfitness(along, sql`false`)}, case when ${needsStep()} then 'must-pass-through' end) end as reason,
        array(select phase.no from ${extents}
          where case phase.kind when 'percent' then ${share} when 'cohort' then ${inCohort(rollout)} else true end
            and (phase.seen_within_s is null or exists (select from device_presence presence
              where presence.device_id = device.id
                and presence.last_seen_at >= ${now}::timestamptz - phase.seen_within_s * interval '1 second'))
          order by phase.no) as phases
      from device_group_member member
      join device on device.id = member.device_id
      join release on release.id = ${releaseId}
      where member.group_id = ${groupId})
    select reason, phases, count(*)::int as n
    from member_of group by 1, 2`.execute(db)
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
  rollout?: { id: string; seed: Buffer; started: boolean }
  phases: readonly PreviewPhase[]
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
