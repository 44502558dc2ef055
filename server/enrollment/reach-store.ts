import type { Db } from '../db/client.ts'
import { groupCovered } from '../db/reach.ts'
import type { Reach } from '../protocol/reach.ts'

export async function isProfileWithin(db: Db, profileId: string, reach: Reach): Promise<boolean> {
  const row = await db
    .selectFrom('enrollment_profile')
    .select('id')
    .where('id', '=', profileId)
    .where(groupCovered('enrollment_profile.group_id', reach))
    .executeTakeFirst()
  return row !== undefined
}

export async function isMember(db: Db, groupId: string, deviceId: string): Promise<boolean> {
  const row = await db
    .selectFrom('device_group_member')
    .select('device_id')
    .where('group_id', '=', groupId)
    .where('device_id', '=', deviceId)
    .executeTakeFirst()
  return row !== undefined
}
