import { type Selectable, sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { withinReach } from '../db/reach.ts'
import type { ChoiceEventTable, DeploymentTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import type { Reach } from '../protocol/reach.ts'

export type ListedDeployment = Selectable<DeploymentTable> & { serial_number: string }
export type LedgerRow = Selectable<ChoiceEventTable>

/**
 * In the order of the devices' ids, which an index has, so that a page costs a page whatever the size of the rollout. A device
 * that went over steps has several; `after` is the id of the last deployment seen.
 */
export async function deploymentsOf(
  db: Db,
  rolloutId: string,
  {
    reach,
    state,
    after,
  }: { reach: Reach; state?: DeploymentState | undefined; after?: string | undefined },
  limit: number,
): Promise<ListedDeployment[]> {
  let query = db
    .selectFrom('deployment')
    .innerJoin('device', 'device.id', 'deployment.device_id')
    .selectAll('deployment')
    .select('device.serial_number')
    .where('deployment.rollout_id', '=', rolloutId)
    .where(withinReach('deployment.device_id', reach))
  if (state) query = query.where('deployment.state', '=', state)
  if (after) {
    query = query.where(
      sql<boolean>`(deployment.device_id, deployment.id) > (select seen.device_id, seen.id from deployment seen
        where seen.id = ${after} and seen.rollout_id = ${rolloutId})`,
    )
  }
  const rows = await query
    .orderBy('deployment.device_id')
    .orderBy('deployment.id')
    .limit(limit)
    .execute()
  if (rows.length === 0) await mustExist(db, 'rollout', rolloutId)
  return rows
}

/** Oldest first. */
export async function choicesOf(
  db: Db,
  deviceId: string,
  after: number | undefined,
  limit: number,
): Promise<LedgerRow[]> {
  let query = db.selectFrom('choice_event').selectAll().where('device_id', '=', deviceId)
  if (after !== undefined) query = query.where('seq', '>', after)
  const rows = await query.orderBy('seq').limit(limit).execute()
  if (rows.length === 0) await mustExist(db, 'device', deviceId)
  return rows
}

async function mustExist(db: Db, table: 'rollout' | 'device', id: string): Promise<void> {
  const row = await db.selectFrom(table).select('id').where('id', '=', id).executeTakeFirst()
  if (!row) throw new DomainError('not-found', `No such ${table}`, { [`${table}Id`]: id })
}
