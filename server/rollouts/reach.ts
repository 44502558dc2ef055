import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { requireCovered } from '../groups/reach.ts'
import type { Reach } from '../protocol/reach.ts'
import { coveredAmong } from './reach-store.ts'
import type { NewPhase } from './store.ts'
import { isAboutGroups } from './targeting.ts'

/**
 * For whoever is limited to groups, a rollout that is about others too is one that does not exist. Free for the whole fleet: what comes after
 * says itself what it says of a rollout that does not exist.
 *
 * @throws DomainError `not-found`
 */
export async function requireRollout(db: Db, rolloutId: string, reach: Reach): Promise<void> {
  if (reach === 'fleet' || (await coveredAmong(db, [rolloutId], reach)).has(rolloutId)) return
  throw new DomainError('not-found', 'No such rollout', { rolloutId })
}

export interface Defined {
  groupId?: string
  phases?: readonly Pick<NewPhase, 'cohort_id'>[] | undefined
  query?: string | null | undefined
}

/**
 * May somebody define a rollout to this group with these phases?
 *
 * @throws DomainError `not-found` for a group outside; `not-allowed` for a group that is covered in part, and for a query that asks for groups, for
 *   a rollout asks the whole fleet
 */
export function requireDefined(reach: Reach, { groupId, phases = [], query }: Defined): void {
  if (reach === 'fleet') return
  if (groupId !== undefined) requireCovered(groupId, reach)
  for (const { cohort_id: id } of phases) if (id) requireCovered(id, reach)
  if (!isAboutGroups(query)) return
  const message =
    'Your permission is limited to groups, and this query asks for groups or enrollment profiles by name: ask for what is true of the devices'
  throw new DomainError('not-allowed', message, { at: 'query' })
}
