import { type RawBuilder, type SqlBool, sql } from 'kysely'

import { refusedOfferCodes } from '../protocol/attack-codes.ts'
import { executedStates, passedStates } from '../protocol/deployment.ts'

/**
 * What is asked of a device and a release whatever a rollout has decided, as conditions over the tables `device` and
 * `release` (rollouts.md §4.1 and §4.4).
 */

/** Ids of the releases that come with the rollout's own. */
export const companionsOfRollout = sql`(select companion.release_id from rollout_companion companion
  where companion.rollout_id = rollout.id)`

/** Active, and in no group that is cut off. */
export function mayTakePart(): RawBuilder<SqlBool> {
  return sql<SqlBool>`(device.state = 'active' and not exists (
    select from incident join device_group_member blocked on blocked.group_id = incident.group_id
    where blocked.device_id = device.id and incident.closed_at is null))`
}

/**
 * Why the release is not for the device, by the first reason that applies; null when it is. Says nothing about a step that
 * has to come in between: that is `needsStep`. What takes a release back (`isBack`) may lower the build, never the security version.
 */
export function unfitness(
  companions: RawBuilder<unknown> = companionsOfRollout,
  isBack: RawBuilder<SqlBool> = sql<SqlBool>`rollout.kind = 'rollback'`,
): RawBuilder<string | null> {
  return sql<string | null>`case
    when not ${mayTakePart()} then 'device-blocked'
    when device.model is null then 'never-seen'
    when device.model <> release.model or not (device.hardware_ids && release.hardware_ids) then 'incompatible'
    when ${runs(sql`runs.build = release.build`)} then 'already-current'
    when ${isBack} and not ${runs(sql`runs.build > release.build`)} then 'already-current'
    when not ${isBack} and ${isTakenBack()} then 'rolled-back-before'
    when ${runs(sql`runs.svn > release.svn`)} then 'downgrade'
    when not ${isBack} and ${runs(sql`(runs.build > release.build or ${isLineBack()})`)} then 'downgrade'
    when jsonb_array_length(device.installed) > 0 and not ${runs(sql`true`)} then 'incompatible'
    when not ${requirementsMet(companions)} or not ${companionsFit(companions)} then 'incompatible'
    when exists (select from deployment past where past.device_id = device.id
      and past.release_id = release.id and past.state = 'rolled_back'
      and past.changed_at > coalesce((select lift.rolled_back_until from device_penalty_lift lift
        where lift.device_id = device.id), '-infinity')) then 'rolled-back-before'
    end`
}

/** A rollout took the release back from the device, and nobody has forgiven it since. */
function isTakenBack(): RawBuilder<SqlBool> {
  return sql<SqlBool>`exists (${takenBack()} and taken.release_id = release.id)`
}

/** What rollouts back that have begun took from the device, as far as it is not forgiven. */
function takenBack(): RawBuilder<unknown> {
  return sql`select taken.release_id from rollback_target target
    join rollout back on back.id = target.rollout_id and back.started_at is not null
    join rollout taken on taken.id = back.parent_id
    where target.device_id = device.id
      and back.started_at > coalesce((select lift.rolled_back_until from device_penalty_lift lift
        where lift.device_id = device.id), '-infinity')`
}

/** Ids of the releases that may be no step on the way either: the device rolled back from them, or they were taken back from it. */
export function notAgain(): RawBuilder<string[]> {
  return sql<string[]>`(select coalesce(jsonb_agg(gone.release_id), '[]') from (
    ${takenBack()}
    union all select past.release_id from deployment past
    where past.device_id = device.id and past.state = 'rolled_back' and past.release_id is not null
      and past.changed_at > coalesce((select lift.rolled_back_until from device_penalty_lift lift
        where lift.device_id = device.id), '-infinity')) gone)`
}

/** May the release be installed only from a build that is higher than what runs, or from any at all when nothing does? */
export function needsStep(): RawBuilder<SqlBool> {
  return sql<SqlBool>`(release.min_previous is not null and release.min_previous > coalesce((
    select max(runs.build) from jsonb_to_recordset(device.installed) runs(component text, build bigint)
    where runs.component = release.component), -1))`
}

function runs(condition: RawBuilder<unknown>): RawBuilder<SqlBool> {
  return sql<SqlBool>`exists (
    select from jsonb_to_recordset(device.installed) runs(component text, version text, build bigint, svn bigint)
    where runs.component = release.component and ${condition})`
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
function requirementsMet(companions: RawBuilder<unknown>): RawBuilder<SqlBool> {
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
function companionsFit(companions: RawBuilder<unknown>): RawBuilder<SqlBool> {
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

/** What a device did wrong lately and nobody forgave, as far as it decides about new offers (rollouts.md §7). */
export interface Failures {
  /** When a deployment of it last failed for good; null when none did within a day. */
  failed_at: Date | null
  /** Its tries that failed within two days, in seconds since 1970, newest first. */
  tries: number[]
}

const failures = sql.join(
  executedStates.filter((state) => state !== 'succeeded').map((state) => sql.lit(state)),
)

const forgivenCodes = sql.join(['declined', ...refusedOfferCodes].map((code) => sql.lit(code)))

/**
 * The columns of `Failures`. What an owner declined is no failure of the device, nor is an offer that it refused for a forged one;
 * and a certificate that was not renewed says nothing about updates.
 */
export function failureColumns(now: Date): RawBuilder<Failures> {
  const forgiven = sql`coalesce((select lift.lifted_at from device_penalty_lift lift
    where lift.device_id = device.id), '-infinity')`
  return sql`(select max(past.changed_at) from deployment past
      where past.device_id = device.id and past.release_id is not null and past.state in (${failures})
        and coalesce(past.code, '') not in (${forgivenCodes}) and past.changed_at > ${forgiven}
        and past.changed_at > ${now}::timestamptz - interval '24 hours') as failed_at,
    array(select extract(epoch from try.at)::float8 from deployment past
      join deployment_event try on try.deployment_id = past.id and try.to_state = 'failed'
      where past.device_id = device.id and coalesce(try.code, '') not in (${forgivenCodes}) and try.at > ${forgiven}
        and try.at > ${now}::timestamptz - interval '48 hours'
      order by try.at desc limit 100) as tries`
}

const passed = sql.join(passedStates.map((state) => sql.lit(state)))

/**
 * The device has its deployment of the rollout: of its release, or of a step on the way there that is not behind it. One that it
 * never answered to has lapsed.
 */
export function isMet(): RawBuilder<SqlBool> {
  return sql<SqlBool>`exists (select from deployment met
    where met.rollout_id = rollout.id and met.device_id = device.id
      and not (met.is_step and met.state in (${passed}))
      and not (met.state = 'expired' and met.code is not distinct from 'unanswered'))`
}

/** The device took a step of the rollout, or was to: it belongs to it until it is met. */
export function hasBegun(): RawBuilder<SqlBool> {
  return sql<SqlBool>`exists (select from deployment begun
    where begun.rollout_id = rollout.id and begun.device_id = device.id)`
}

/** `bucketOf` of bucket.ts, in SQL: the first 13 hex digits are 52 bits. */
export function bucketSql(seed: RawBuilder<unknown>): RawBuilder<number> {
  return sql<number>`(('x' || left(encode(sha256(${seed} || uuid_send(device.id)), 'hex'), 13))::bit(52)::bigint
    / 4503599627370496.0::float8)`
}

/** Some published release can be installed now and is below the one that needs a step: on the way, or nearly so. */
export function hasFirstStep(): RawBuilder<SqlBool> {
  return sql<SqlBool>`exists (
    select from release step
    left join jsonb_to_recordset(device.installed) runs(component text, build bigint, svn bigint)
      on runs.component = step.component
    where step.model = release.model and step.component = release.component and step.state = 'published'
      and step.hardware_ids && device.hardware_ids and step.build < release.build
      and step.build > coalesce(runs.build, -1) and step.svn >= coalesce(runs.svn, 0)
      and (step.min_previous is null or step.min_previous <= coalesce(runs.build, -1))
      and not (${notAgain()} @> to_jsonb(step.id)))`
}

/**
 * An update may take the limits of its states (rollouts.md §7). A certificate that is short-lived by design is renewed when a
 * part of its life is left, so it is only taken for late in the last quarter.
 */
export const isExpiring = (now: Date) => sql<boolean>`coalesce((
  select max(held.not_after - least(interval '27 hours', (held.not_after - held.not_before) / 4)) < ${now}
  from certificate held where held.device_id = device.id and held.kind = 'device' and held.state = 'issued'), false)`
