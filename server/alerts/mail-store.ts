import { type Selectable, sql } from 'kysely'

import type { Tx } from '../db/client.ts'
import type { AlertMailTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { MailState } from './state.ts'

type Mail = Selectable<AlertMailTable>

/** Takes mails that are due; each counts as an attempt and is due again at `leaseUntil`, should this process end meanwhile. */
export async function claimMails(
  tx: Tx,
  { now, leaseUntil, limit }: { now: Date; leaseUntil: Date; limit: number },
): Promise<Mail[]> {
  const { rows } =
    await sql<Mail>`update alert_mail set attempts = attempts + 1, due_at = ${leaseUntil}
    where id in (select id from alert_mail where state = 'pending' and due_at <= ${now}
      order by due_at limit ${limit} for update skip locked) and state = 'pending'
    returning *`.execute(tx)
  return rows
}

export async function saveMail(
  tx: Tx,
  { id, attempts }: Pick<Mail, 'id' | 'attempts'>,
  outcome: { state: MailState; dueAt: Date; error: string | null },
  now: Date,
): Promise<void> {
  await tx
    .updateTable('alert_mail')
    .set({
      state: outcome.state,
      due_at: outcome.dueAt,
      last_error: outcome.error,
      ended_at: outcome.state === 'pending' ? null : now,
    })
    .where('id', '=', id)
    .where('state', '=', 'pending')
    .where('attempts', '=', attempts)
    .execute()
}

/** @throws DomainError `not-found`, `conflict` */
export async function retryMail(tx: Tx, id: string, now: Date): Promise<Mail> {
  const row = await tx
    .updateTable('alert_mail')
    .set({ state: 'pending', due_at: now, attempts: 0, created_at: now, ended_at: null })
    .where('id', '=', id)
    .where('state', '=', 'dead')
    .returningAll()
    .executeTakeFirst()
  if (row) return row
  const known = await tx
    .selectFrom('alert_mail')
    .select('state')
    .where('id', '=', id)
    .executeTakeFirst()
  if (!known) throw new DomainError('not-found', 'No such mail', { mailId: id })
  throw new DomainError(
    'conflict',
    `The mail is ${known.state}: only a dead letter is sent again`,
    {
      mailId: id,
    },
  )
}
