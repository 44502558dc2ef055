import type { Context } from '../context.ts'
import { bucketOf } from './bucket.ts'
import { windowVerdict } from './window-place.ts'
import { unansweredOffers } from './window-store.ts'

/**
 * Of these devices, those whose windows opened or closed over an offer that they did not answer: they are to look again. And those that
 * are told nothing until a window opens, whom nobody has to ask why they are silent. Says the same until they have looked.
 */
export async function windowTurns(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  deviceIds: readonly string[],
): Promise<{ turned: string[]; closed: ReadonlySet<string> }> {
  const now = clock.now()
  const turned = new Set<string>()
  const closed = new Set<string>()
  const open = new Set<string>()
  for (const offer of await unansweredOffers(db, deviceIds)) {
    const { device_id: id, facts, seed, is_told: isTold, is_told_nothing: isFree } = offer
    const isOpen = windowVerdict(facts, bucketOf(seed, id), now).open
    if (isOpen) open.add(id)
    else closed.add(id)
    if (isOpen ? isFree : isTold) turned.add(id)
  }
  for (const id of open) closed.delete(id)
  return { turned: [...turned], closed }
}
