import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { withinReach } from '../db/reach.ts'
import type { Reach } from '../protocol/reach.ts'
import type { DeviceState } from './state.ts'

/** Devices by state, and how many of them are connected. One statement. */
export async function countDevices(
  db: Db,
  reach: Reach,
): Promise<{ state: DeviceState; devices: number; connected: number }[]> {
  return await db
    .selectFrom('device')
    .leftJoin('device_presence', 'device_presence.device_id', 'device.id')
    .where(withinReach('device.id', reach))
    .groupBy('device.state')
    .select(({ fn }) => ['device.state', fn.countAll<number>().as('devices')])
    .select(sql<number>`count(*) filter (where device_presence.connected)`.as('connected'))
    .execute()
}
