import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { RolloutApprovalTable } from '../db/schema.ts'
import { voiceOfActor } from '../db/voice.ts'

export type Approval = Selectable<RolloutApprovalTable>

const voices = {
  approver: voiceOfActor(sql.ref('approval.approver')),
  author: voiceOfActor(sql.ref('rollout.created_by')),
  editor: voiceOfActor(sql.ref('rollout.edited_by')),
}

/**
 * The words for the present definitions of these rollouts, oldest first. Not among them: those of who made or last edited
 * it, by whatever key, of somebody twice, and of API keys that were revoked since, which may have been somebody else's.
 */
export async function countingApprovals(
  db: Db,
  rolloutIds: readonly string[],
): Promise<Approval[]> {
  const rows = await db
    .selectFrom('rollout_approval as approval')
    .innerJoin('rollout', 'rollout.id', 'approval.rollout_id')
    .selectAll('approval')
    .select(voices.approver.as('voice'))
    .where('approval.rollout_id', '=', sql<string>`any(${[...rolloutIds]}::uuid[])`)
    .whereRef('approval.definition_hash', '=', 'rollout.definition_hash')
    .where(sql<boolean>`${voices.approver} <> ${voices.author}`)
    .where(sql<boolean>`${voices.approver} is distinct from ${voices.editor}`)
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
  const heard = new Set<string>()
  return rows.flatMap(({ voice, ...approval }) => {
    const one = `${approval.rollout_id} ${voice}`
    if (heard.has(one)) return []
    heard.add(one)
    return [approval]
  })
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
