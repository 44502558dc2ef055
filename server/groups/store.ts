import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { groupKnown, withinReach } from '../db/reach.ts'
import type { DeviceGroupTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { Reach } from '../protocol/reach.ts'

export interface Group extends Selectable<DeviceGroupTable> {
  /** Of its members, those within the reach of whoever asks. */
  device_count: number | null
  incident_id: string | null
  incident_reason: string | null
  incident_opened_at: Date | null
}

function groups(db: Db, reach: Reach) {
  return db
    .selectFrom('device_group')
    .leftJoin('incident', (join) =>
      join.onRef('incident.group_id', '=', 'device_group.id').on('incident.closed_at', 'is', null),
    )
    .selectAll('device_group')
    .where(groupKnown('device_group.id', reach))
    .select([
      'incident.id as incident_id',
      'incident.reason as incident_reason',
      'incident.opened_at as incident_opened_at',
    ])
    .select((eb) =>
      eb
        .selectFrom('device_group_member')
        .select((member) => member.fn.countAll<number>().as('count'))
        .whereRef('device_group_member.group_id', '=', 'device_group.id')
        .where(withinReach('device_group_member.device_id', reach))
        .as('device_count'),
    )
}

export async function findGroup(db: Db, id: string, reach: Reach): Promise<Group | undefined> {
  return await groups(db, reach).where('device_group.id', '=', id).executeTakeFirst()
}

export async function getGroup(db: Db, id: string, reach: Reach): Promise<Group> {
  const row = await findGroup(db, id, reach)
  if (!row) throw new DomainError('not-found', 'No such group', { groupId: id })
  return row
}

/** Newest first. `before` is the id of the last one seen. */
export async function listGroups(
  db: Db,
  filter: { reach: Reach; name?: string | undefined; before?: string | undefined; limit: number },
): Promise<Group[]> {
  let query = groups(db, filter.reach)
  if (filter.name !== undefined) query = query.where('device_group.name', '=', filter.name)
  if (filter.before !== undefined) query = query.where('device_group.id', '<', filter.before)
  return await query.orderBy('device_group.id', 'desc').limit(filter.limit).execute()
}

/** Returns false when the id or the name is taken. */
export async function insertGroup(
  tx: Tx,
  row: {
    id: string
    name: string
    description: string
    query: string | null
    evaluate_at: Date | null
    created_at: Date
  },
): Promise<boolean> {
  const inserted = await tx
    .insertInto('device_group')
    .values(row)
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

export async function updateGroup(
  tx: Tx,
  id: string,
  changes: { name?: string; description?: string; query?: string; evaluate_at?: Date },
): Promise<void> {
  await tx.updateTable('device_group').set(changes).where('id', '=', id).execute()
}

export async function isNameTaken(db: Db, name: string, exceptId: string): Promise<boolean> {
  const row = await db
    .selectFrom('device_group')
    .select('id')
    .where('name', '=', name)
    .where('id', '<>', exceptId)
    .executeTakeFirst()
  return row !== undefined
}

/** What refers to the group, by kind and number; nothing that refers to it may be left behind. */
export async function usesOfGroup(db: Db, id: string): Promise<Record<string, number>> {
  const { rows } = await sql<Record<string, number>>`
    select (select count(*) from device_group_member where group_id = ${id}::uuid) as devices,
      (select count(*) from enrollment_profile where group_id = ${id}::uuid) as "enrollmentProfiles",
      (select count(*) from rollout where group_id = ${id}::uuid) as rollouts,
      (select count(*) from incident where group_id = ${id}::uuid) as incidents,
      (select count(*) from access_role where ${id}::uuid = any(group_ids)) as roles,
      (select count(distinct principal) from access_grant where ${id}::uuid = any(group_ids)) as grants`.execute(
    db,
  )
  return Object.fromEntries(
    Object.entries(rows[0] ?? {})
      .map(([kind, count]) => [kind, Number(count)] as const)
      .filter(([, count]) => count > 0),
  )
}

export async function deleteGroup(tx: Tx, id: string): Promise<boolean> {
  const row = await tx
    .deleteFrom('device_group')
    .where('id', '=', id)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Returns the ids that were not members before. */
export async function insertMembers(
  tx: Tx,
  groupId: string,
  deviceIds: readonly string[],
): Promise<string[]> {
  if (deviceIds.length === 0) return []
  const rows = await tx
    .insertInto('device_group_member')
    .values(deviceIds.map((deviceId) => ({ group_id: groupId, device_id: deviceId })))
    .onConflict((oc) => oc.doNothing())
    .returning('device_id')
    .execute()
  return rows.map((row) => row.device_id)
}

/** Returns the ids that were members before. */
export async function deleteMembers(
  tx: Tx,
  groupId: string,
  deviceIds: readonly string[],
): Promise<string[]> {
  const rows = await tx
    .deleteFrom('device_group_member')
    .where('group_id', '=', groupId)
    .where('device_id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .returning('device_id')
    .execute()
  return rows.map((row) => row.device_id)
}

export async function deviceExists(db: Db, deviceId: string): Promise<boolean> {
  const row = await db
    .selectFrom('device')
    .select('id')
    .where('id', '=', deviceId)
    .executeTakeFirst()
  return row !== undefined
}
