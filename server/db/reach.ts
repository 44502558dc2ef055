import { type RawBuilder, sql } from 'kysely'

import { coveredGroups, knownGroups, type Reach } from '../protocol/reach.ts'

/** With its table (`device.id`): without, it would be a column of what a condition below looks into, and the condition always true. */
type Column = `${string}.${string}`

/**
 * The condition that a device lies within a reach, for a `where`. `device` is the column of its id. Each
 * group is an `exists` of its own: PostgreSQL looks its members up by primary key for few devices, and joins with all of them for many.
 * Free for the whole fleet. What has no device (null) lies within the whole fleet only.
 */
export function withinReach(device: Column, reach: Reach): RawBuilder<boolean> {
  if (reach === 'fleet') return sql<boolean>`true`
  const lists = reach.map((groups) => {
    const members = [...new Set(groups)].map(
      (groupId) => sql`exists (select from device_group_member as reach_member
        where reach_member.device_id = ${sql.ref(device)} and reach_member.group_id = ${groupId}::uuid)`,
    )
    return members.length === 0 ? sql`false` : sql`(${sql.join(members, sql` and `)})`
  })
  return lists.length === 0 ? sql<boolean>`false` : sql<boolean>`(${sql.join(lists, sql` or `)})`
}

/** The condition that a group is covered as a whole. `group` is the column of its id; one without a group (null) is the whole fleet's. */
export function groupCovered(group: Column, reach: Reach): RawBuilder<boolean> {
  return among(group, coveredGroups(reach))
}

/** The condition that somebody may know of a group. `group` is the column of its id. */
export function groupKnown(group: Column, reach: Reach): RawBuilder<boolean> {
  return among(group, knownGroups(reach))
}

/** The condition that the devices of an enrollment profile are covered. `profile` is the column of its id. */
export function profileCovered(profile: Column, reach: Reach): RawBuilder<boolean> {
  if (reach === 'fleet') return sql<boolean>`true`
  return sql<boolean>`exists (select from enrollment_profile as reach_profile
    where reach_profile.id = ${sql.ref(profile)} and ${groupCovered('reach_profile.group_id', reach)})`
}

/**
 * The condition that every group is covered that a rollout is about: its own, its cohorts, and those of the rollouts that it was made of. Never so for
 * one whose query asks for groups by name. `rollout` is the column of its id.
 */
export function rolloutCovered(rollout: Column, reach: Reach): RawBuilder<boolean> {
  const covered = coveredGroups(reach)
  if (!covered) return sql<boolean>`true`
  const ids = sql`${covered}::uuid[]`
  return sql<boolean>`not exists (
    with recursive reach_rollout as (
      select id, group_id, parent_id, names_groups from rollout as own where own.id = ${sql.ref(rollout)}
      union
      select parent.id, parent.group_id, parent.parent_id, parent.names_groups
      from rollout as parent join reach_rollout on parent.id = reach_rollout.parent_id)
    select from reach_rollout where names_groups or group_id <> all(${ids}) or exists (
      select from rollout_phase as cohort where cohort.rollout_id = reach_rollout.id and cohort.cohort_id <> all(${ids})))`
}

function among(group: Column, ids: readonly string[] | undefined): RawBuilder<boolean> {
  return ids ? sql<boolean>`${sql.ref(group)} = any(${[...ids]}::uuid[])` : sql<boolean>`true`
}
