import { sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { failureColumns, type Failures } from '../db/release-fit.ts'

export interface RolledBack {
  release_id: string
  component: string
  version: string
  build: number
  at: Date
}

/** Undefined for a device that does not exist. */
export async function failuresOf(
  db: Db,
  deviceId: string,
  now: Date,
): Promise<Failures | undefined> {
  const { rows } = await sql<Failures>`
    select ${failureColumns(now)} from device where device.id = ${deviceId}`.execute(db)
  return rows[0]
}

const mostShown = 100

/** Builds that are not offered to the device any more, newest first. */
export async function rolledBackFrom(db: Db, deviceId: string): Promise<RolledBack[]> {
  const { rows } = await sql<RolledBack>`
    select release.id as release_id, release.component, release.version, release.build, max(past.changed_at) as at
    from deployment past join release on release.id = past.release_id
    where past.device_id = ${deviceId} and past.state = 'rolled_back'
      and past.changed_at > coalesce((select lift.rolled_back_until from device_penalty_lift lift
        where lift.device_id = ${deviceId}), '-infinity')
    group by release.id order by max(past.changed_at) desc, release.id limit ${mostShown}`.execute(
    db,
  )
  return rows
}

export async function saveLift(
  tx: Tx,
  lift: { deviceId: string; at: Date; by: string; reason: string; rolledBack: boolean },
): Promise<void> {
  const until = lift.rolledBack ? lift.at : null
  await tx
    .insertInto('device_penalty_lift')
    .values({
      device_id: lift.deviceId,
      lifted_at: lift.at,
      rolled_back_until: until,
      lifted_by: lift.by,
      reason: lift.reason,
    })
    .onConflict((oc) =>
      oc.column('device_id').doUpdateSet({
        lifted_at: lift.at,
        lifted_by: lift.by,
        reason: lift.reason,
        rolled_back_until: sql<Date | null>`coalesce(${until}::timestamptz, device_penalty_lift.rolled_back_until)`,
      }),
    )
    .execute()
}
