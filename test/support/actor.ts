import type { Actor } from '../../server/http/access.ts'
import { type BuiltInRole, permissionsOf } from '../../server/protocol/permissions.ts'

/** Somebody with a role that is always there, for the whole fleet or for the devices that are in all of `groups`. */
export function actorWith(
  role: BuiltInRole,
  who: { id: string; name: string; requestId: string },
  groups: readonly string[] = [],
): Actor {
  return {
    ...who,
    voice: who.id,
    grants: [{ role, permissions: new Set(permissionsOf[role]), groups }],
  }
}
