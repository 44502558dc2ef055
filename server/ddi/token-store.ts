import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { DdiTokenTable } from '../db/schema.ts'

export type Token = Selectable<DdiTokenTable>

export interface Bearer extends Token {
  /** Of the device. */
  state: string
  /** It is in a group that an incident has cut off. */
  group_disabled: boolean
  /** It was given one, whatever became of it. */
  has_certificate: boolean
}

export async function findBearer(db: Db, hash: Buffer): Promise<Bearer | undefined> {
  const { rows } = await sql<Bearer>`
    select token.*, device.state,
      exists (select from incident join device_group_member blocked on blocked.group_id = incident.group_id
        where blocked.device_id = device.id and incident.closed_at is null) as group_disabled,
      exists (select from certificate where certificate.device_id = device.id and certificate.der is not null)
        as has_certificate
    from ddi_token token join device on device.id = token.device_id
    where token.hash = ${hash}`.execute(db)
  return rows[0]
}

export async function findToken(db: Db, deviceId: string): Promise<Token | undefined> {
  return await db
    .selectFrom('ddi_token')
    .selectAll()
    .where('device_id', '=', deviceId)
    .executeTakeFirst()
}

export async function hasCertificate(db: Db, deviceId: string): Promise<boolean> {
  const row = await db
    .selectFrom('certificate')
    .select('id')
    .where('device_id', '=', deviceId)
    .where('der', 'is not', null)
    .limit(1)
    .executeTakeFirst()
  return row !== undefined
}

/** Takes the place of the one before. */
export async function saveToken(tx: Tx, row: Omit<Token, 'last_used_at'>): Promise<void> {
  const { device_id: _, ...rest } = row
  const set = { ...rest, last_used_at: null }
  await tx
    .insertInto('ddi_token')
    .values({ ...row, last_used_at: null })
    .onConflict((oc) => oc.column('device_id').doUpdateSet(set))
    .execute()
}

export async function deleteToken(tx: Tx, deviceId: string): Promise<boolean> {
  const row = await tx
    .deleteFrom('ddi_token')
    .where('device_id', '=', deviceId)
    .returning('device_id')
    .executeTakeFirst()
  return row !== undefined
}

export async function noteUse(tx: Tx, deviceId: string, now: Date): Promise<void> {
  await tx
    .updateTable('ddi_token')
    .set({ last_used_at: now })
    .where('device_id', '=', deviceId)
    .execute()
}
