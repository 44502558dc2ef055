import { type RawBuilder, sql } from 'kysely'

import type { Reach } from '../protocol/reach.ts'

/**
 * The condition that a device lies within a reach, for a `where`. `device` is the reference to its id, e.g. `sql.ref('device.id')`. One
 * lookup by primary key for each group of the reach; none for the whole fleet.
 */
export function withinReach(device: RawBuilder<unknown>, reach: Reach): RawBuilder<boolean> {
  if (reach === 'fleet') return sql<boolean>`true`
  const lists = reach.map(
    (groups) => sql`(select count(*) from device_group_member as reach_member
      where reach_member.device_id = ${device} and reach_member.group_id = any(${[...groups]}::uuid[])) = ${new Set(groups).size}::int`,
  )
  return lists.length === 0 ? sql<boolean>`false` : sql<boolean>`(${sql.join(lists, sql` or `)})`
}
