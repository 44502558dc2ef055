import { DomainError } from '../errors.ts'
import { type Actor, type Grant, reachOf } from '../http/access.ts'

/**
 * Nobody gives what he has not: each permission that is given, its giver has wherever it is given. Also for what comes to the same, as making
 * a new secret for somebody else.
 *
 * @throws DomainError `not-allowed`
 */
export function mustHold(actor: Pick<Actor, 'grants'>, given: readonly Grant[]): void {
  for (const { role, permissions, groups } of given) {
    for (const permission of permissions) {
      if (holds(actor, permission, groups)) continue
      throw new DomainError(
        'not-allowed',
        `You cannot give the role ${role}: it may do what you may not, or where you may not (${permission}). Ask an administrator`,
        { role, needs: permission },
      )
    }
  }
}

/** A device that is in all of `groups` is in all of any part of them; no groups are the whole fleet. */
function holds(
  actor: Pick<Actor, 'grants'>,
  permission: Parameters<typeof reachOf>[1],
  groups: readonly string[],
): boolean {
  const reach = reachOf(actor, permission)
  if (reach === undefined) return false
  return reach === 'fleet' || reach.some((list) => list.every((id) => groups.includes(id)))
}
