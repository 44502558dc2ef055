import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { AlertChannelTable } from '../db/schema.ts'

/** To one channel within an hour; alerts beyond that are counted, and the next mail says how many they were. */
export const mailsPerHour = 30

export interface ToldChannel extends Selectable<AlertChannelTable> {
  /** Its endpoint hears of alerts anyway. */
  hears_all: boolean
  /** Mails that were written for it within the hour. */
  recent: number
}

export async function channelsToTell(
  db: Db,
  ids: readonly string[],
  since: Date,
): Promise<ToldChannel[]> {
  if (ids.length === 0) return []
  const { rows } = await sql<ToldChannel>`select c.*,
      exists (select from webhook_endpoint w where w.id = c.endpoint_id and 'alert.raised' = any(w.types)) as hears_all,
      (select count(*) from alert_mail m where m.channel_id = c.id and m.created_at > ${since})::int as recent
    from alert_channel c where c.id = any(${[...ids]}::uuid[]) order by c.id`.execute(db)
  return rows
}

export interface NewMail {
  id: string
  channelId: string
  alertId: string | null
  recipients: readonly string[]
  subject: string
  body: string
}

export async function insertMails(tx: Tx, mails: readonly NewMail[], now: Date): Promise<void> {
  if (mails.length === 0) return
  await tx
    .insertInto('alert_mail')
    .values(
      mails.map(({ id, channelId, alertId, recipients, subject, body }) => ({
        id,
        channel_id: channelId,
        alert_id: alertId,
        recipients: [...recipients],
        subject,
        body,
        state: 'pending' as const,
        due_at: now,
        last_error: null,
        created_at: now,
        ended_at: null,
      })),
    )
    .execute()
}

export async function setHeld(tx: Tx, channelId: string, held: number): Promise<void> {
  await tx.updateTable('alert_channel').set({ held }).where('id', '=', channelId).execute()
}
