import type { Db } from '../db/client.ts'
import { reachOf } from '../http/access.ts'
import type { Permission } from '../protocol/permissions.ts'
import { toGrants } from './grants.ts'
import { activeHolders, listHolders } from './store.ts'

/** Of these (`key:ID`, …), those that still open something. */
export async function activeAmong(
  db: Db,
  principals: readonly string[],
  now: Date,
): Promise<Set<string>> {
  return principals.length === 0 ? new Set() : await activeHolders(db, principals, now)
}

const mostHolders = 10_000

/** How many people, as far as can be told, may do something to the whole fleet: somebody with several keys is one. */
export async function voicesWith(db: Db, permission: Permission, now: Date): Promise<number> {
  const holders = await listHolders(db, now, { limit: mostHolders })
  const able = holders.filter(
    ({ active, grants }) => active && reachOf({ grants: toGrants(grants) }, permission) === 'fleet',
  )
  return new Set(able.map(({ voice }) => voice)).size
}
