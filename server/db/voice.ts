import { type RawBuilder, sql } from 'kysely'

import type { Db } from './client.ts'

/**
 * Whose voice an actor (`key:ID` and the like) has where two people have to agree, as operators/voice.ts says it of a caller: of a key, a certificate or a pipeline that of the
 * person who made it, else of its owner; else its own.
 */
export function voiceOfActor(actor: RawBuilder<unknown>): RawBuilder<string> {
  return sql<string>`coalesce(
    (select case when created_by like 'user:%' then created_by else 'user:' || owner_id end from api_key where 'key:' || api_key.id = ${actor}),
    (select case when created_by like 'user:%' then created_by else 'user:' || owner_id end from operator_certificate where 'certificate:' || operator_certificate.id = ${actor}),
    (select created_by from workload_identity where 'workload:' || workload_identity.id = ${actor} and created_by like 'user:%'),
    ${actor})`
}

/** Whose voice each of these actors has. */
export async function voicesOfActors(
  db: Db,
  actors: readonly string[],
): Promise<Map<string, string>> {
  const { rows } = await sql<{ actor: string; voice: string }>`
    select actor, ${voiceOfActor(sql.ref('said.actor'))} as voice
    from unnest(${[...actors]}::text[]) as said (actor)`.execute(db)
  return new Map(rows.map(({ actor, voice }) => [actor, voice]))
}
