import { DomainError } from '../errors.ts'
import { coversGroup, knowsGroup, type Reach } from '../protocol/reach.ts'

/**
 * For whoever is limited to groups, another group is one that does not exist.
 *
 * @throws DomainError `not-found`
 */
export function requireKnown(groupId: string, reach: Reach): void {
  if (!knowsGroup(reach, groupId)) throw noSuchGroup(groupId)
}

/**
 * For what concerns all members of a group, now and later.
 *
 * @throws DomainError `not-found`; `not-allowed` when only those members are covered that are in other groups too
 */
export function requireCovered(groupId: string, reach: Reach): void {
  requireKnown(groupId, reach)
  if (coversGroup(reach, groupId)) return
  throw new DomainError(
    'not-allowed',
    'Your permission covers only a part of this group: ask somebody who may do this for all of it',
    { groupId },
  )
}

export function noSuchGroup(groupId: string): DomainError {
  return new DomainError('not-found', 'No such group', { groupId })
}
