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
