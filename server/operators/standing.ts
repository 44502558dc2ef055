import { toGrants } from '../access/grants.ts'
import type { Db } from '../db/client.ts'
import { type Grant, reachOf } from '../http/access.ts'
import type { Permission } from '../protocol/permissions.ts'
import type { Reach } from '../protocol/reach.ts'
import { activeAmong } from './store.ts'

/** Callers who may still call, with what they may do now. */
export type Standing = ReadonlyMap<string, readonly Grant[]>

/**
 * Of these callers (`key:ID`, as `actor.id`), those whose key still opens something: neither revoked nor past its end. For
 * answers that go on after the request was let in. One statement.
 */
export async function standingActors(
  db: Db,
  actors: readonly string[],
  now: Date,
): Promise<Standing> {
  const ids = actors.flatMap((actor) =>
    actor.startsWith(prefix) ? [actor.slice(prefix.length)] : [],
  )
  const active = ids.length === 0 ? [] : await activeAmong(db, ids, now)
  return new Map(active.map(({ id, grants }) => [prefix + id, toGrants(grants)]))
}

/** May this caller still do the same in the same places as when he was let in? Whoever may do more now asks again. */
export function stillReaches(
  standing: Standing,
  began: { actor: string; permission: Permission; reach: Reach },
): boolean {
  const grants = standing.get(began.actor)
  if (!grants) return false
  return JSON.stringify(reachOf({ grants }, began.permission)) === JSON.stringify(began.reach)
}

const prefix = 'key:'
