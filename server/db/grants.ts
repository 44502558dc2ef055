import { type RawBuilder, sql } from 'kysely'

/** A right as it is stored: `permissions` and `roleGroups` are those of a role of one's own, null for one that is always there. */
export interface StoredGrant {
  role: string
  groups: string[]
  permissions: string[] | null
  roleGroups: string[] | null
}

/**
 * What somebody was given, as one JSON value (an array of StoredGrant, in its order) for a `select`, so that whoever looks a caller up
 * learns his rights by the same statement. `principal` is the reference to it, e.g. `sql`'key:' || api_key.id``.
 */
export function storedGrants(principal: RawBuilder<unknown>): RawBuilder<StoredGrant[]> {
  return sql<
    StoredGrant[]
  >`(select coalesce(json_agg(json_build_object('role', held.role, 'groups', held.group_ids,
      'permissions', own.permissions, 'roleGroups', own.group_ids) order by held.no), '[]'::json)
    from access_grant as held left join access_role as own on own.name = held.role
    where held.principal = ${principal})`
}
