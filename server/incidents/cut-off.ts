import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'

/** @throws DomainError `not-allowed` when an incident covers a group of the device */
export async function assertNotCutOff(db: Db, deviceId: string): Promise<void> {
  const row = await db
    .selectFrom('device_group_member')
    .innerJoin('incident', 'incident.group_id', 'device_group_member.group_id')
    .select('incident.id')
    .where('device_group_member.device_id', '=', deviceId)
    .where('incident.closed_at', 'is', null)
    .limit(1)
    .executeTakeFirst()
  if (row) throw new DomainError('not-allowed', 'The group of this device is cut off')
}

/** Of these devices and groups, those that an incident covers. */
export async function cutOffAmong(
  db: Db,
  { deviceIds, groupIds }: { deviceIds: readonly string[]; groupIds: readonly string[] },
): Promise<Set<string>> {
  const { rows } = await sql<{ id: string }>`select group_id as id from incident
      where closed_at is null and group_id = any(${[...groupIds]}::uuid[])
    union select member.device_id from device_group_member member
      join incident on incident.group_id = member.group_id and incident.closed_at is null
      where member.device_id = any(${[...deviceIds]}::uuid[])`.execute(db)
  return new Set(rows.map(({ id }) => id))
}
