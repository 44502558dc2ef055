import { type RawBuilder, type SqlBool, sql } from 'kysely'

import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { compiledQuery } from '../device-query/compiled.ts'
import { loadDeviceFacts } from '../device-query/facts.ts'
import { matches } from '../device-query/match.ts'
import { type DeviceQuery, namesGroups } from '../device-query/query.ts'
import { matchingSql } from '../device-query/sql.ts'
import { DomainError } from '../errors.ts'
import { type Candidate, someoneToMeet } from './meet-store.ts'

type Asked = Pick<Candidate, 'query' | 'device_id'>

/**
 * Which candidates their rollout's query finds, by what is true of the device now. One read when there is a query among them,
 * none when there is not.
 */
export async function targeted(
  db: Db,
  candidates: readonly Asked[],
  now: Date,
): Promise<(candidate: Asked) => boolean> {
  const asked = candidates.filter(({ query }) => query !== null)
  const ids = [...new Set(asked.map(({ device_id }) => device_id))]
  const facts = new Map((await loadDeviceFacts(db, ids)).map((device) => [device.id, device]))
  return ({ query, device_id }) => {
    if (query === null) return true
    const device = facts.get(device_id)
    const compiled = understood(query)
    return device !== undefined && compiled !== undefined && matches(compiled, device, now)
  }
}

/** The same as a condition on the table `device`; always true without a query. */
export function targetedSql(query: string | null | undefined, now: Date): RawBuilder<SqlBool> {
  if (!query) return sql<SqlBool>`true`
  const compiled = understood(query)
  return compiled ? matchingSql(compiled, now, 'fleet') : sql<SqlBool>`false`
}

/** Does a query ask for groups or enrollment profiles by name? Also said of a text that is no query. */
export function isAboutGroups(query: string | null | undefined): boolean {
  if (!query) return false
  const compiled = understood(query)
  return !compiled || namesGroups(compiled)
}

/** A text that is no query any more, which only a hand in the database can have written, finds nobody and stops nobody else. */
function understood(text: string): DeviceQuery | undefined {
  try {
    return compiledQuery(text)
  } catch (error) {
    if (error instanceof DomainError) return undefined
    throw error
  }
}

/** Is there somebody left whom the rollout could meet, in its group and found by its query? */
export async function isSomeoneToMeet(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { id, query }: { id: string; query: string | null },
): Promise<boolean> {
  const now = clock.now()
  return await someoneToMeet(db, id, now, targetedSql(query, now))
}
