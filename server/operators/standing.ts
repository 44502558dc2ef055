import type { Db } from '../db/client.ts'
import { activeAmong } from './store.ts'

/**
 * Of these callers (`key:ID`, as `actor.id`), those whose key still opens something: neither revoked nor past its end. For
 * answers that go on after the request was let in. One statement.
 */
export async function standingActors(
  db: Db,
  actors: readonly string[],
  now: Date,
): Promise<Set<string>> {
  const ids = actors.flatMap((actor) =>
    actor.startsWith(prefix) ? [actor.slice(prefix.length)] : [],
  )
  const active = ids.length === 0 ? [] : await activeAmong(db, ids, now)
  return new Set(active.map((id) => prefix + id))
}

const prefix = 'key:'
