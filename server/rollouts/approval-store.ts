import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { RolloutApprovalTable } from '../db/schema.ts'

export type Approval = Selectable<RolloutApprovalTable>

/**
 * The words for the present definitions of these rollouts, oldest first. Not among them: those of who made or last edited
 * it, and of API keys that were revoked since, which may have been somebody else's.
 */
export async function countingApprovals(
  db: Db,
  rolloutIds: readonly string[],
): Promise<Approval[]> {
  return await db
    .selectFrom('rollout_approval as approval')
    .innerJoin('rollout', 'rollout.id', 'approval.rollout_id')
    .selectAll('approval')
    .where('approval.rollout_id', '=', sql<string>`any(${[...rolloutIds]}::uuid[])`)
    .whereRef('approval.definition_hash', '=', 'rollout.definition_hash')
    .whereRef('approval.approver', '<>', 'rollout.created_by')
    .where(sql<boolean>`approval.approver is distinct from rollout.edited_by`)
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('api_key')
            .select('api_key.id')
            .where(sql<boolean>`'key:' || api_key.id = approval.approver`)
            .where('api_key.revoked_at', 'is not', null),
        ),
      ),
    )
    .orderBy('approval.at')
    .orderBy('approval.approver')
    .execute()
}

/** False when this person approved this definition before. */
export async function insertApproval(tx: Tx, row: Approval): Promise<boolean> {
  const inserted = await tx
    .insertInto('rollout_approval')
    .values(row)
    .onConflict((oc) => oc.columns(['rollout_id', 'approver', 'definition_hash']).doNothing())
    .returning('approver')
    .executeTakeFirst()
  return inserted !== undefined
}
