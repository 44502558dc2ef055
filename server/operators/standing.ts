import { toGrants } from '../access/grants.ts'
import type { Db } from '../db/client.ts'
import type { StoredGrant } from '../db/grants.ts'
import { type Grant, reachOf } from '../http/access.ts'
import { peopleSignedIn } from '../people/sessions.ts'
import type { Permission } from '../protocol/permissions.ts'
import type { Reach } from '../protocol/reach.ts'
import { workloadsInUse } from '../workloads/service.ts'
import { openCertificatesAmong } from './certificate-store.ts'
import { activeAmong } from './store.ts'

/** Callers who may still call, with what they may do now. */
export type Standing = ReadonlyMap<string, readonly Grant[]>

type Held = readonly { id: string; grants: StoredGrant[] }[]

/** By the first word of an actor: who of these may still call. */
const kinds: Readonly<Record<string, (db: Db, ids: string[], now: Date) => Promise<Held>>> = {
  key: activeAmong,
  certificate: openCertificatesAmong,
  user: peopleSignedIn,
  workload: workloadsInUse,
}

/**
 * Of these callers (`key:ID` and the like, as `actor.id`), those who would still be let in: by a key or certificate that is neither revoked nor past
 * its end, an open session, a workload identity that was not removed. For answers that go on after the request was let in. One statement for each kind
 * of caller among them.
 */
export async function standingActors(
  db: Db,
  actors: readonly string[],
  now: Date,
): Promise<Standing> {
  const standing = new Map<string, readonly Grant[]>()
  for (const [kind, look] of Object.entries(kinds)) {
    const prefix = `${kind}:`
    const ids = actors.flatMap((actor) =>
      actor.startsWith(prefix) ? [actor.slice(prefix.length)] : [],
    )
    if (ids.length === 0) continue
    for (const { id, grants } of await look(db, ids, now)) {
      standing.set(prefix + id, toGrants(grants))
    }
  }
  return standing
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
