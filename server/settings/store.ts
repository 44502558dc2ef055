import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { DeviceSettingsTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'

export type DeviceSettings = Selectable<DeviceSettingsTable>

export interface Configurable {
  model: string | null
  installed: unknown
}

export async function findDevice(db: Db, deviceId: string): Promise<Configurable> {
  const row = await db
    .selectFrom('device')
    .select(['model', 'installed'])
    .where('id', '=', deviceId)
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such device', { deviceId })
  return row
}

/** Newest first; `before` is a revision. */
export async function listSettings(
  db: Db,
  deviceId: string,
  { before, limit }: { before?: number | undefined; limit: number },
): Promise<DeviceSettings[]> {
  let query = db.selectFrom('device_settings').selectAll().where('device_id', '=', deviceId)
  if (before !== undefined) query = query.where('revision', '<', before)
  return await query.orderBy('revision', 'desc').limit(limit).execute()
}

/** 0 while there are none. */
export async function newestRevision(db: Db, deviceId: string): Promise<number> {
  return (await listSettings(db, deviceId, { limit: 1 }))[0]?.revision ?? 0
}

/** What the device shall have now, locked until the transaction ends; undefined when it was never told anything. */
export async function lockNewest(tx: Tx, deviceId: string): Promise<DeviceSettings | undefined> {
  // The device's row, so that two operators take turns also when there is nothing yet.
  await tx.selectFrom('device').select('id').where('id', '=', deviceId).forUpdate().execute()
  return (await listSettings(tx, deviceId, { limit: 1 }))[0]
}

export async function insertSettings(tx: Tx, row: DeviceSettings): Promise<void> {
  await tx
    .updateTable('device_settings')
    .set({ state: 'replaced', changed_at: row.changed_at })
    .where('device_id', '=', row.device_id)
    .where('state', '=', 'wanted')
    .execute()
  await tx.insertInto('device_settings').values(row).execute()
}

export type Judged = Pick<DeviceSettings, 'id' | 'device_id' | 'sha256' | 'commit_nonce'> & {
  /** What the device last said in `hello` that it runs. */
  installed_sha256: string | null
}

/** Of these ids, the settings that are still wanted, locked until the transaction ends. */
export async function lockWanted(tx: Tx, ids: readonly string[]): Promise<Judged[]> {
  const { rows } = await sql<Judged>`
    select own.id, own.device_id, own.sha256, own.commit_nonce,
      (select runs.sha256 from jsonb_to_recordset(device.installed) runs(component text, sha256 text)
        where runs.component = 'overrides' limit 1) as installed_sha256
    from device_settings own join device on device.id = own.device_id
    where own.id = any(${[...ids]}::uuid[]) and own.state = 'wanted'
    order by own.id for update of own`.execute(tx)
  return rows
}

/** Ids that are of settings, whatever their state, and whose they are. */
export async function settingsAmong(db: Db, ids: readonly string[]): Promise<Map<string, string>> {
  const rows = await db
    .selectFrom('device_settings')
    .select(['id', 'device_id'])
    .where('id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .execute()
  return new Map(rows.map((row) => [row.id, row.device_id]))
}

export async function updateWanted(
  tx: Tx,
  id: string,
  set: Partial<Pick<DeviceSettings, 'state' | 'code' | 'detail' | 'commit_nonce'>>,
  now: Date,
): Promise<void> {
  await tx
    .updateTable('device_settings')
    .set({ ...set, changed_at: now })
    .where('id', '=', id)
    .where('state', '=', 'wanted')
    .execute()
}
