import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import type { Reach } from '../protocol/reach.ts'
import { isProfileWithin } from './reach-store.ts'

/**
 * For whoever is limited to groups, a profile whose devices go into another group is one that does not exist. Free for the whole fleet: what
 * comes after says itself what it says of a profile that does not exist.
 *
 * @throws DomainError `not-found`
 */
export async function requireProfile(db: Db, profileId: string, reach: Reach): Promise<void> {
  if (reach === 'fleet' || (await isProfileWithin(db, profileId, reach))) return
  throw new DomainError('not-found', 'No such enrollment profile', { profileId })
}
