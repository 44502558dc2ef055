import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { bucketOf } from './bucket.ts'
import { type WindowVerdict, windowVerdict } from './window-place.ts'
import { windowFactsOf } from './window-store.ts'

/**
 * May this device begin now with what this rollout offers it, by all windows and blackout days that count; until when; and when
 * again (rollouts.md §8). One statement. Whoever has the facts (`windowFacts` of db/window-facts.ts) asks `windowVerdict` for none.
 * Throws `not-found` for an unknown device or rollout.
 */
export async function windowFor(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  deviceId: string,
  rolloutId: string,
): Promise<WindowVerdict> {
  const found = await windowFactsOf(db, deviceId, rolloutId)
  if (!found) {
    throw new DomainError('not-found', 'No such device or rollout', { deviceId, rolloutId })
  }
  return windowVerdict(found.facts, bucketOf(found.seed, deviceId), clock.now())
}
