import { type Insertable, type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { AlertChannelTable, AlertMailTable, AlertRuleTable, AlertTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { AlertState, MailState } from './state.ts'

export type Alert = Selectable<AlertTable>
export type Channel = Selectable<AlertChannelTable>
export type Rule = Selectable<AlertRuleTable>
export type Mail = Selectable<AlertMailTable>
export type AlertDetails = Alert & { rule_name: string }

export const mostRules = 100
export const mostChannels = 50

function alerts(db: Db) {
  return db
    .selectFrom('alert')
    .innerJoin('alert_rule', 'alert_rule.id', 'alert.rule_id')
    .selectAll('alert')
    .select('alert_rule.name as rule_name')
}

export async function getAlert(db: Db, id: string): Promise<AlertDetails> {
  const row = await alerts(db).where('alert.id', '=', id).executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such alert', { alertId: id })
  return row
}

/** Newest first; `before` is the id of the last one seen. */
export async function listAlerts(
  db: Db,
  filter: {
    state?: AlertState | undefined
    severity?: Alert['severity'] | undefined
    before?: string | undefined
    limit: number
  },
): Promise<AlertDetails[]> {
  let query = alerts(db)
  if (filter.state !== undefined) query = query.where('alert.state', '=', filter.state)
  if (filter.severity !== undefined) query = query.where('alert.severity', '=', filter.severity)
  if (filter.before !== undefined) query = query.where('alert.id', '<', filter.before)
  return await query.orderBy('alert.id', 'desc').limit(filter.limit).execute()
}

/** Compare-and-set: false when it moved meanwhile. */
export async function moveAlert(
  tx: Tx,
  { id, state }: Pick<Alert, 'id' | 'state'>,
  values: Partial<Omit<Alert, 'id' | 'rule_id' | 'key'>>,
): Promise<boolean> {
  const row = await tx
    .updateTable('alert')
    .set(values)
    .where('id', '=', id)
    .where('state', '=', state)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

export async function listRules(
  db: Db,
  page: { before?: string | undefined; limit: number },
): Promise<Rule[]> {
  let query = db.selectFrom('alert_rule').selectAll()
  if (page.before !== undefined) query = query.where('id', '<', page.before)
  return await query.orderBy('id', 'desc').limit(page.limit).execute()
}

export async function lockRule(tx: Tx, id: string): Promise<Rule> {
  const row = await tx
    .selectFrom('alert_rule')
    .selectAll()
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such rule', { ruleId: id })
  return row
}

/** Returns false when the id is there already. */
export async function insertRule(tx: Tx, row: Insertable<AlertRuleTable>): Promise<boolean> {
  const made = await tx
    .insertInto('alert_rule')
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .returning('id')
    .executeTakeFirst()
  await assertRoom(tx, 'alert_rule', mostRules)
  return made !== undefined
}

export async function updateRule(
  tx: Tx,
  id: string,
  values: Partial<Omit<Rule, 'id' | 'created_at' | 'created_by'>>,
): Promise<void> {
  await tx.updateTable('alert_rule').set(values).where('id', '=', id).execute()
}

/** Its alerts go with it. */
export async function deleteRule(tx: Tx, id: string): Promise<void> {
  await tx.deleteFrom('alert_rule').where('id', '=', id).execute()
}

export async function ruleNamed(db: Db, name: string): Promise<string | undefined> {
  const row = await db
    .selectFrom('alert_rule')
    .select('id')
    .where('name', '=', name)
    .executeTakeFirst()
  return row?.id
}

export async function listChannels(
  db: Db,
  page: { before?: string | undefined; limit: number },
): Promise<Channel[]> {
  let query = db.selectFrom('alert_channel').selectAll()
  if (page.before !== undefined) query = query.where('id', '<', page.before)
  return await query.orderBy('id', 'desc').limit(page.limit).execute()
}

export async function getChannel(db: Db, id: string): Promise<Channel> {
  const row = await db
    .selectFrom('alert_channel')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such channel', { channelId: id })
  return row
}

/** Returns false when the id or the name is there already. */
export async function insertChannel(tx: Tx, row: Insertable<AlertChannelTable>): Promise<boolean> {
  const made = await tx
    .insertInto('alert_channel')
    .values(row)
    .onConflict((conflict) => conflict.doNothing())
    .returning('id')
    .executeTakeFirst()
  await assertRoom(tx, 'alert_channel', mostChannels)
  return made !== undefined
}

/** Its mails go with it, and rules do not name it any more. */
export async function deleteChannel(tx: Tx, id: string): Promise<void> {
  await sql`update alert_rule set channel_ids = array_remove(channel_ids, ${id}::uuid)
    where ${id}::uuid = any(channel_ids)`.execute(tx)
  await tx.deleteFrom('alert_channel').where('id', '=', id).execute()
}

async function assertRoom(
  tx: Tx,
  table: 'alert_rule' | 'alert_channel',
  most: number,
): Promise<void> {
  const { n } = await tx
    .selectFrom(table)
    .select(({ fn }) => fn.countAll<number>().as('n'))
    .executeTakeFirstOrThrow()
  if (n > most) {
    throw new DomainError('quota-exhausted', `There may be ${most} of these: delete one`)
  }
}

/** Newest first; `before` is the id of the last one seen. */
export async function listMails(
  db: Db,
  filter: { state?: MailState | undefined; before?: string | undefined; limit: number },
): Promise<Mail[]> {
  let query = db.selectFrom('alert_mail').selectAll()
  if (filter.state !== undefined) query = query.where('state', '=', filter.state)
  if (filter.before !== undefined) query = query.where('id', '<', filter.before)
  return await query.orderBy('id', 'desc').limit(filter.limit).execute()
}
