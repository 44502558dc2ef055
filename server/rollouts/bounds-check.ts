import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { factsFor } from './bounds-store.ts'
import type { NewPhase } from './store.ts'

/**
 * Throws DomainError `not-found` for a cohort of an unknown group, `invalid-request` for a release that is to pass the queue and
 * is no security release.
 */
export async function checkBounds(
  db: Db,
  { releaseId, phases, passQueue }: Bounded,
): Promise<void> {
  const groupIds = [...new Set(phases.flatMap(({ cohort_id }) => cohort_id ?? []))]
  if (groupIds.length === 0 && !passQueue) return
  const facts = await factsFor(db, { releaseId, groupIds })
  const groupId = groupIds.find((id) => !facts.groups.includes(id))
  if (groupId !== undefined) throw new DomainError('not-found', 'No such group', { groupId })
  if (passQueue && !facts.is_security) {
    const message = 'Only a security release passes the queue: raise the priority instead'
    throw new DomainError('invalid-request', message, { at: 'passQueue' })
  }
}

interface Bounded {
  /** Null for certificates. */
  releaseId: string | null
  phases: readonly Pick<NewPhase, 'cohort_id'>[]
  passQueue: boolean
}
