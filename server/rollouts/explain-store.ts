import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { rolloutCovered } from '../db/reach.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import type { Reach } from '../protocol/reach.ts'
import type { RolloutState } from './state.ts'

/** A rollout as one device sees it. */
export interface Concern {
  id: string
  name: string
  state: RolloutState
  reason: string | null
  is_member: boolean
  /** The newest deployment of it that the device has. */
  deployment: {
    id: string
    state: DeploymentState
    code: string | null
    is_step: boolean
    postponed_until: string | null
  } | null
}

/**
 * One rollout, or those that are not over and whose group holds the device and those that gave it something, newest first.
 */
export async function concernsOf(
  db: Db,
  deviceId: string,
  { reach, rolloutId, before, limit }: Asked,
): Promise<Concern[]> {
  const which =
    rolloutId === undefined
      ? sql`((rollout.state in ('draft', 'approved', 'running', 'paused') and ${isMember(deviceId)})
          or exists (select from deployment given where given.rollout_id = rollout.id and given.device_id = ${deviceId}))`
      : sql`rollout.id = ${rolloutId}`
  const { rows } = await sql<Concern>`
    select rollout.id, rollout.name, rollout.state, rollout.reason, ${isMember(deviceId)} as is_member,
      (select jsonb_build_object('id', given.id, 'state', given.state, 'code', given.code, 'is_step', given.is_step,
          'postponed_until', given.postponed_until)
        from deployment given join release on release.id = given.release_id
        where given.rollout_id = rollout.id and given.device_id = ${deviceId}
        order by given.created_at desc, release.build desc limit 1) as deployment
    from rollout
    where ${which} and ${rolloutCovered('rollout.id', reach)} and (${before ?? null}::uuid is null or rollout.id < ${before ?? null}::uuid)
    order by rollout.id desc limit ${limit}`.execute(db)
  return rows
}

export interface Asked {
  reach: Reach
  rolloutId?: string
  before?: string | undefined
  limit: number
}

const isMember = (deviceId: string) => sql`exists (select from device_group_member member
  where member.group_id = rollout.group_id and member.device_id = ${deviceId})`

export async function deviceExists(db: Db, deviceId: string): Promise<boolean> {
  const row = await db
    .selectFrom('device')
    .select('id')
    .where('id', '=', deviceId)
    .executeTakeFirst()
  return row !== undefined
}
