import { sql } from 'kysely'

import type { Db } from '../db/client.ts'

export interface KindCount {
  rollout_id: string
  phase_no: number
  kind: 'timeout' | 'dark' | 'rejected'
  n: number
}

/** What the counts by state do not say, from the kept counts: no deployment is read. */
export async function kindCountsOf(db: Db, rolloutIds: readonly string[]): Promise<KindCount[]> {
  return await db
    .selectFrom('deployment_code_count')
    .select(['rollout_id', 'phase_no', 'kind', sql<number>`sum(n)::int`.as('n')])
    .where('rollout_id', '=', sql<string>`any(${[...rolloutIds]}::uuid[])`)
    .groupBy(['rollout_id', 'phase_no', 'kind'])
    .having(sql`sum(n)`, '>', 0)
    .execute()
}

/**
 * What became of devices in the rollouts that completed since. One that was stopped or given up says what is unusual; one
 * that tries again, or goes back, has other devices than a fleet has.
 */
export async function fleetVerdicts(
  db: Db,
  since: Date,
): Promise<{ executed: number; failed: number }> {
  const row = await db
    .selectFrom('deployment_count as kept')
    .innerJoin('rollout', 'rollout.id', 'kept.rollout_id')
    .select([
      sql<number>`coalesce(sum(kept.n), 0)::int`.as('executed'),
      sql<number>`coalesce(sum(kept.n) filter (where kept.state <> 'succeeded'), 0)::int`.as(
        'failed',
      ),
    ])
    .where('rollout.state', '=', 'completed')
    .where('rollout.kind', '=', 'update')
    .where('rollout.ended_at', '>=', since)
    .where('kept.state', 'in', ['succeeded', 'failed_final', 'rolled_back', 'lost'])
    .executeTakeFirstOrThrow()
  return { executed: Math.max(0, row.executed), failed: Math.max(0, row.failed) }
}
