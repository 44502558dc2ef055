import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { type StoredGrant, storedGrants } from '../db/grants.ts'
import type { Grant } from '../http/access.ts'
import {
  type BuiltInRole,
  builtInRoles,
  permissions,
  permissionsOf,
} from '../protocol/permissions.ts'

/** What somebody (`key:ID`, `user:ID`, …) may do now; nothing when nobody gave him anything. One statement. */
export async function grantsOf(db: Db, principal: string): Promise<Grant[]> {
  const { rows } = await sql<{ grants: StoredGrant[] }>`
    select ${storedGrants(sql`${principal}::text`)} as grants`.execute(db)
  return toGrants(rows[0]?.grants ?? [])
}

/**
 * Rights as they count. The groups of a role and those of the grant both narrow: a device has to be in all of them. A role
 * that is gone opens nothing, and neither does a permission that this version does not know.
 */
export function toGrants(stored: readonly StoredGrant[]): Grant[] {
  return stored.flatMap(({ role, groups, permissions: own, roleGroups }) => {
    if (isBuiltIn(role)) {
      return [{ role, permissions: new Set(permissionsOf[role]), groups: groups.toSorted() }]
    }
    const content = { name: role, permissions: own ?? [], group_ids: roleGroups ?? [] }
    const grant = grantOf(content, groups)
    return grant.permissions.size === 0 ? [] : [grant]
  })
}

/** A role of one's own as a right, for the devices that are in all of its groups and in all of these. */
export function grantOf(
  {
    name,
    permissions: own,
    group_ids,
  }: { name: string; permissions: readonly string[]; group_ids: readonly string[] },
  groups: readonly string[] = [],
): Grant {
  const may = permissions.filter((each) => own.includes(each))
  return {
    role: name,
    permissions: new Set(may),
    groups: [...new Set([...groups, ...group_ids])].toSorted(),
  }
}

export function isBuiltIn(role: string): role is BuiltInRole {
  return builtInRoles.some((name) => name === role)
}
