import type { Db } from '../db/client.ts'
import { withinReach } from '../db/reach.ts'
import type { Reach } from '../protocol/reach.ts'

export async function isDeviceWithin(db: Db, deviceId: string, reach: Reach): Promise<boolean> {
  const row = await db
    .selectFrom('device')
    .select('id')
    .where('id', '=', deviceId)
    .where(withinReach('device.id', reach))
    .executeTakeFirst()
  return row !== undefined
}
