import { sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'

/** How attempts of one kind are slowed down. */
export interface Pace {
  /** Failures before the first pause. */
  free: number
  /** The first pause; each further failure doubles it. */
  firstMs: number
  maxMs: number
  /** Failures that nobody added to for so long count no more. */
  forgetMs: number
  /** With so many failures in a row nothing but an administrator helps. */
  closedAt?: number
}

/** So many rows are kept at most; the one that failed longest ago makes room. */
const maxSubjects = 20_000

/**
 * Counts an attempt before it is looked at, so that a thousand at once are a thousand and not one. Undefined: it may be looked at; otherwise the
 * moment from which on somebody may try again.
 */
export async function takeAttempt(
  tx: Tx,
  subject: string,
  { pace, now }: { pace: Pace; now: Date },
): Promise<Date | undefined> {
  const { free, firstMs, maxMs, closedAt = 1_000_000_000 } = pace
  const forgetBefore = new Date(now.getTime() - pace.forgetMs)
  const count = sql`case when l.last_at < ${forgetBefore} and l.failures < ${closedAt} then 1 else l.failures + 1 end`
  const { rows } = await sql<{ failures: number }>`
    insert into sign_in_limit as l (subject, failures, last_at) values (${subject}, 1, ${now})
    on conflict (subject) do update set failures = ${count}, last_at = ${now},
      blocked_until = case when ${count} <= ${free}::int then null
        when ${count} >= ${closedAt}::int then 'infinity'
        else ${now}::timestamptz + least(${maxMs}::float8, ${firstMs}::float8 * power(2, least(${count} - ${free}::int - 1, 40))) * interval '1 millisecond' end
    where l.blocked_until is null or l.blocked_until <= ${now}
    returning failures`.execute(tx)
  const [row] = rows
  if (row?.failures === 1) await dropOldest(tx)
  return row ? undefined : await blockedUntil(tx, subject)
}

/** An attempt that was none of the failed ones: what it counted is taken back, and the pause that it would have begun. */
export async function giveBack(tx: Tx, subjects: readonly string[]): Promise<void> {
  if (subjects.length === 0) return
  await tx
    .updateTable('sign_in_limit')
    .set({ failures: sql`greatest(failures - 1, 0)`, blocked_until: null })
    .where('subject', 'in', subjects)
    .execute()
}

/** Whether there was anything to forget. */
export async function forgetFailures(tx: Tx, subject: string): Promise<boolean> {
  const row = await tx
    .deleteFrom('sign_in_limit')
    .where('subject', '=', subject)
    .returning('subject')
    .executeTakeFirst()
  return row !== undefined
}

export interface Standing {
  failures: number
  /** The year 9999 for what only an administrator opens. */
  blockedUntil: Date | undefined
}

export async function standingOf(db: Db, subject: string, now: Date): Promise<Standing> {
  const row = await db
    .selectFrom('sign_in_limit')
    .select(['failures', finiteEnd.as('until')])
    .where('subject', '=', subject)
    .executeTakeFirst()
  const until = row?.until ?? undefined
  return {
    failures: row?.failures ?? 0,
    blockedUntil: until !== undefined && until > now ? until : undefined,
  }
}

/** Removes what has not failed since an instant and blocks nothing, at most `limit`. Returns how many. */
export async function forgetOldFailures(tx: Tx, before: Date, limit: number): Promise<number> {
  const { rows } = await sql`delete from sign_in_limit where subject in (
    select subject from sign_in_limit
    where last_at < ${before} and blocked_until is distinct from 'infinity'
    order by last_at limit ${limit} for update skip locked
  ) returning subject`.execute(tx)
  return rows.length
}

const finiteEnd = sql<Date | null>`case when blocked_until = 'infinity' then timestamptz '9999-12-31' else blocked_until end`

async function blockedUntil(db: Db, subject: string): Promise<Date | undefined> {
  const row = await db
    .selectFrom('sign_in_limit')
    .select(finiteEnd.as('until'))
    .where('subject', '=', subject)
    .executeTakeFirst()
  return row?.until ?? undefined
}

async function dropOldest(tx: Tx): Promise<void> {
  await sql`delete from sign_in_limit where subject in (
    select subject from sign_in_limit order by last_at desc offset ${maxSubjects} limit 100)`.execute(
    tx,
  )
}
