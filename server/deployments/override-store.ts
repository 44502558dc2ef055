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

/** Whether a device is within what somebody may do now. */
export async function reachesDevice(db: Db, deviceId: string, reach: Reach): Promise<boolean> {
  if (reach === 'fleet') return true
  const row = await db
    .selectFrom('device')
    .select('id')
    .where('id', '=', deviceId)
    .where(withinReach('device.id', reach))
    .executeTakeFirst()
  return row !== undefined
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
  row: Omit<
    Override,
    'approved_by' | 'approver_voices' | 'approved_at' | 'revoked_by' | 'revoked_at'
  >,
): Promise<Override> {
  return await tx.insertInto('update_override').values(row).returningAll().executeTakeFirstOrThrow()
}

/** Those of these actors' words that stand now, as `approved_by` and `approver_voices` have them. */
export interface Word {
  actor: string
  voice: string
}

/** Who approved it, only in the place of those that the caller saw. Throws `conflict` when somebody was quicker. */
export async function setApprovers(
  tx: Tx,
  { id, approved_by: before }: Override,
  { words, approvedAt }: { words: readonly Word[]; approvedAt: Date | null },
): Promise<Override> {
  const row = await tx
    .updateTable('update_override')
    .set({
      approved_by: words.map(({ actor }) => actor),
      approver_voices: words.map(({ voice }) => voice),
      approved_at: approvedAt,
    })
    .where('id', '=', id)
    .where('approved_by', '=', sql<string[]>`${[...before]}::text[]`)
    .where('approved_at', 'is', null)
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
