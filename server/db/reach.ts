import { type RawBuilder, sql } from 'kysely'

import { coveredGroups, knownGroups, type Reach } from '../protocol/reach.ts'

/**
 * The condition that a device lies within a reach, for a `where`. `device` is the reference to its id, e.g. `sql.ref('device.id')`. Each
 * group is an `exists` of its own: PostgreSQL looks its members up by primary key for few devices, and joins with all of them for many.
 * Free for the whole fleet. What has no device (null) lies within the whole fleet only.
 */
export function withinReach(device: RawBuilder<unknown>, reach: Reach): RawBuilder<boolean> {
  if (reach === 'fleet') return sql<boolean>`true`
  const lists = reach.map((groups) => {
    const members = [...new Set(groups)].map(
      (groupId) => sql`exists (select from device_group_member as reach_member
        where reach_member.device_id = ${device} and reach_member.group_id = ${groupId}::uuid)`,
    )
    return members.length === 0 ? sql`false` : sql`(${sql.join(members, sql` and `)})`
  })
  return lists.length === 0 ? sql<boolean>`false` : sql<boolean>`(${sql.join(lists, sql` or `)})`
}

/** The condition that a group is covered as a whole. `group` is the reference to its id; one without a group (null) is the whole fleet's. */
export function groupCovered(group: RawBuilder<unknown>, reach: Reach): RawBuilder<boolean> {
  return among(group, coveredGroups(reach))
}

/** The condition that somebody may know of a group. `group` is the reference to its id. */
export function groupKnown(group: RawBuilder<unknown>, reach: Reach): RawBuilder<boolean> {
  return among(group, knownGroups(reach))
}

/** The condition that the devices of an enrollment profile are covered. `profile` is the reference to its id. */
export function profileCovered(profile: RawBuilder<unknown>, reach: Reach): RawBuilder<boolean> {
  if (reach === 'fleet') return sql<boolean>`true`
  return sql<boolean>`exists (select from enrollment_profile as reach_profile
    where reach_profile.id = ${profile} and ${groupCovered(sql.ref('reach_profile.group_id'), reach)})`
}

function among(
  group: RawBuilder<unknown>,
  ids: readonly string[] | undefined,
): RawBuilder<boolean> {
  return ids ? sql<boolean>`${group} = any(${[...ids]}::uuid[])` : sql<boolean>`true`
}
