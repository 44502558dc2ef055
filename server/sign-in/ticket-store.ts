import { type Selectable, sql } from 'kysely'

import type { Tx } from '../db/client.ts'
import type { SignInTicketTable, TicketKind } from '../db/sign-in-tables.ts'

export type Ticket = Selectable<SignInTicketTable>
export type NewTicket = Pick<Ticket, 'token_hash' | 'kind' | 'created_at' | 'expires_at'> &
  Partial<Omit<Ticket, 'tries'>>

/** So many open tickets one person has at most, and nobody in particular all together. */
const maxPerPerson = 10
const maxOfNobody = 5_000

/** Stores a ticket; the oldest one of its person makes room. */
export async function insertTicket(tx: Tx, ticket: NewTicket): Promise<void> {
  await tx
    .insertInto('sign_in_ticket')
    .values({
      person_id: null,
      session_id: null,
      invitation_id: null,
      password_hash: null,
      sealed_secret: null,
      challenge: null,
      ...ticket,
      tries: 0,
    })
    .execute()
  const personId = ticket.person_id ?? null
  await sql`delete from sign_in_ticket where token_hash in (
    select token_hash from sign_in_ticket where person_id is not distinct from ${personId}::uuid
    order by expires_at desc offset ${personId === null ? maxOfNobody : maxPerPerson} limit 100)`.execute(
    tx,
  )
}

/**
 * The ticket, locked, with one more try counted; undefined when there is none of these kinds, or it is over, or it was tried `maxTries` times.
 */
export async function tryTicket(
  tx: Tx,
  hash: Buffer,
  wanted: { kinds: readonly TicketKind[]; now: Date; maxTries: number },
): Promise<Ticket | undefined> {
  return await tx
    .updateTable('sign_in_ticket')
    .set({ tries: sql`tries + 1` })
    .where('token_hash', '=', hash)
    .where('kind', 'in', wanted.kinds)
    .where('expires_at', '>', wanted.now)
    .where('tries', '<', wanted.maxTries)
    .returningAll()
    .executeTakeFirst()
}

/** Returns false when somebody else used it first. */
export async function useTicket(tx: Tx, hash: Buffer): Promise<boolean> {
  const row = await tx
    .deleteFrom('sign_in_ticket')
    .where('token_hash', '=', hash)
    .returning('token_hash')
    .executeTakeFirst()
  return row !== undefined
}

/** What a ticket is to be answered with next. */
export async function setTicket(
  tx: Tx,
  hash: Buffer,
  values: Partial<Pick<Ticket, 'sealed_secret' | 'challenge'>>,
): Promise<boolean> {
  const row = await tx
    .updateTable('sign_in_ticket')
    .set(values)
    .where('token_hash', '=', hash)
    .returning('token_hash')
    .executeTakeFirst()
  return row !== undefined
}

export async function dropTicketsOf(tx: Tx, personId: string): Promise<void> {
  await tx.deleteFrom('sign_in_ticket').where('person_id', '=', personId).execute()
}

/** Removes tickets that ended before an instant, at most `limit`. Returns how many. */
export async function forgetTickets(tx: Tx, before: Date, limit: number): Promise<number> {
  const { rows } = await sql`delete from sign_in_ticket where token_hash in (
    select token_hash from sign_in_ticket where expires_at < ${before}
    order by expires_at limit ${limit} for update skip locked
  ) returning kind`.execute(tx)
  return rows.length
}
