import type { Insertable } from 'kysely'

import type { Tx } from '../db/client.ts'
import type { RolloutPhaseTable, RolloutTable } from '../db/schema.ts'

/** Writes what is given of a definition; whether it may be is decided by the caller, in the same transaction. */
export async function writeDefinition(
  tx: Tx,
  rolloutId: string,
  columns: Partial<Omit<Insertable<RolloutTable>, 'id' | 'state'>>,
): Promise<void> {
  if (Object.keys(columns).length === 0) return
  await tx.updateTable('rollout').set(columns).where('id', '=', rolloutId).execute()
}

/** The phases as given; those up to `openNo` keep what the engine wrote to them. */
export async function writePhases(
  tx: Tx,
  rolloutId: string,
  openNo: number,
  phases: readonly Omit<Insertable<RolloutPhaseTable>, 'rollout_id' | 'opened_at' | 'admitted'>[],
): Promise<void> {
  for (const { no, ...phase } of phases.filter((one) => one.no <= openNo)) {
    await tx
      .updateTable('rollout_phase')
      .set(phase)
      .where('rollout_id', '=', rolloutId)
      .where('no', '=', no)
      .execute()
  }
  await tx
    .deleteFrom('rollout_phase')
    .where('rollout_id', '=', rolloutId)
    .where('no', '>', openNo)
    .execute()
  const ahead = phases.filter((one) => one.no > openNo)
  if (ahead.length === 0) return
  await tx
    .insertInto('rollout_phase')
    .values(ahead.map((phase) => ({ ...phase, rollout_id: rolloutId, opened_at: null })))
    .execute()
}
