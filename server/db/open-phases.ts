import { type RawBuilder, type SqlBool, sql } from 'kysely'

import { bucketSql } from './release-fit.ts'

/** Whom an open phase takes, as far as one device is concerned. */
export interface OpenPhase {
  no: number
  kind: 'percent' | 'count' | 'cohort'
  /** Cumulative; of a share only. */
  percent: number | null
  /** So many and no more; of a count only. */
  count: number | null
  admitted: number
  /** Only devices seen in the last so many seconds. */
  seen_within_s: number | null
  /** Is the device in the frozen cohort? */
  in_cohort: boolean
}

/** Of `rollout`, for `device`: its open phases in order; before the start, the first. */
export function openPhases(): RawBuilder<OpenPhase[] | null> {
  return sql`(select jsonb_agg(jsonb_build_object('no', phase.no, 'kind', phase.kind, 'percent', phase.percent, 'count', phase.count,
      'admitted', phase.admitted, 'seen_within_s', phase.seen_within_s, 'in_cohort', ${inCohort()}) order by phase.no)
    from rollout_phase phase
    where phase.rollout_id = rollout.id and phase.no <= greatest(rollout.phase_no, 1))`
}

/** Has `rollout` anything that must be counted before it admits somebody? */
export function isBounded(): RawBuilder<SqlBool> {
  return sql<SqlBool>`(rollout.max_in_flight is not null or rollout.bytes_per_minute is not null or exists (
    select from rollout_phase phase where phase.rollout_id = rollout.id and phase.no <= rollout.phase_no
      and (phase.kind = 'count' or phase.rate is not null)))`
}

/** Is `device` in the frozen cohort of `phase`? */
function inCohort(): RawBuilder<SqlBool> {
  return sql<SqlBool>`(phase.kind = 'cohort' and exists (select from rollout_cohort_member cohort
    where cohort.rollout_id = phase.rollout_id and cohort.phase_no = phase.no and cohort.device_id = device.id))`
}

/** Would an open phase of `rollout` take `device`? One that takes only who was seen lately does not wait for others. */
export function isTakenByPhase(now: Date): RawBuilder<SqlBool> {
  return sql<SqlBool>`exists (select from rollout_phase phase
    where phase.rollout_id = rollout.id and phase.no <= rollout.phase_no
      and case phase.kind when 'percent' then ${bucketSql(sql.raw('rollout.seed'))} < phase.percent / 100
        when 'count' then phase.admitted < phase.count else ${inCohort()} end
      and (phase.seen_within_s is null or exists (select from device_presence presence
        where presence.device_id = device.id
          and presence.last_seen_at >= ${now}::timestamptz - phase.seen_within_s * interval '1 second')))`
}
