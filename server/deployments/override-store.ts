import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import { isManaged } from '../db/managed.ts'
import { withinReach } from '../db/reach.ts'
import type { UpdateOverrideTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import type { Reach } from '../protocol/reach.ts'

export type Override = Selectable<UpdateOverrideTable>

/** What decides whether a deployment may be overridden. */
export interface Overridable {
  id: string
  device_id: string
  state: DeploymentState
  class: 'security' | 'feature' | 'config'
  managed: boolean
  update_opt_out: boolean
}

/** Locked until the transaction ends: two overrides of one deployment are made one after the other. */
export async function lockOverridable(tx: Tx, deploymentId: string): Promise<Overridable> {
  const row = await tx
    .selectFrom('deployment')
    .innerJoin('release', 'release.id', 'deployment.release_id')
    .innerJoin('device', 'device.id', 'deployment.device_id')
    .select(['deployment.id', 'deployment.device_id', 'deployment.state', 'release.class'])
    .select(['device.update_opt_out', isManaged().as('managed')])
    .where('deployment.id', '=', deploymentId)
    .forUpdate('deployment')
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such deployment', { deploymentId })
  return row
}

export async function findOverride(db: Db, id: string): Promise<Override | undefined> {
  return await db.selectFrom('update_override').selectAll().where('id', '=', id).executeTakeFirst()
}

/**
 * For whoever is limited to groups, an override for another device is one that does not exist. Free for the whole fleet.
 *
 * @throws DomainError `not-found`
 */
export async function requireOverride(db: Db, overrideId: string, reach: Reach): Promise<void> {
  if (reach === 'fleet') return
  const row = await db
    .selectFrom('update_override')
    .innerJoin('deployment', 'deployment.id', 'update_override.deployment_id')
    .select('update_override.id')
    .where('update_override.id', '=', overrideId)
    .where(withinReach('deployment.device_id', reach))
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such override', { overrideId })
}

/** The one that was not taken back; there is at most one. */
export async function openOverride(db: Db, deploymentId: string): Promise<Override | undefined> {
  return await db
    .selectFrom('update_override')
    .selectAll()
    .where('deployment_id', '=', deploymentId)
    .where('revoked_at', 'is', null)
    .executeTakeFirst()
}

/** Newest first; `before` is the id of the last one seen. */
export async function overridesOf(
  db: Db,
  deploymentId: string,
  { before, limit }: { before: string | undefined; limit: number },
): Promise<Override[]> {
  let query = db.selectFrom('update_override').selectAll().where('deployment_id', '=', deploymentId)
  if (before !== undefined) query = query.where('id', '<', before)
  return await query.orderBy('id', 'desc').limit(limit).execute()
}

export async function insertOverride(
  tx: Tx,
  row: Pick<Override, 'id' | 'deployment_id' | 'reason' | 'until' | 'created_by' | 'created_at'>,
): Promise<Override> {
  return await tx.insertInto('update_override').values(row).returningAll().executeTakeFirstOrThrow()
}

/** One more approver, only on top of those that the caller saw. Throws `conflict` when somebody was quicker. */
export async function addApprover(
  tx: Tx,
  { id, approved_by: before }: Override,
  { approver, now }: { approver: string; now: Date },
): Promise<Override> {
  const row = await tx
    .updateTable('update_override')
    .set({
      approved_by: [...before, approver],
      approved_at: before.length === 1 ? now : null,
    })
    .where('id', '=', id)
    .where('approved_by', '=', sql<string[]>`${[...before]}::text[]`)
    .where('revoked_at', 'is', null)
    .returningAll()
    .executeTakeFirst()
  return row ?? changed(id)
}

export async function revokeOverride(
  tx: Tx,
  id: string,
  { by, now }: { by: string; now: Date },
): Promise<Override> {
  const row = await tx
    .updateTable('update_override')
    .set({ revoked_by: by, revoked_at: now })
    .where('id', '=', id)
    .where('revoked_at', 'is', null)
    .returningAll()
    .executeTakeFirst()
  return row ?? changed(id)
}

function changed(overrideId: string): never {
  throw new DomainError('conflict', 'The override changed meanwhile; look at it again', {
    overrideId,
  })
}
