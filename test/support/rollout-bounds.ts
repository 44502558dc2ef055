import type { Updateable } from 'kysely'

import type { RolloutPhaseTable, RolloutTable } from '../../server/db/schema.ts'
import { givenStarted } from './rollout-given.ts'
import { act, type PhaseGiven, type RolloutWorld } from './rollout-world.ts'

/** Sets what bounds a rollout, whatever its state. */
export async function bound(
  { db }: RolloutWorld,
  id: string,
  set: Updateable<RolloutTable>,
): Promise<void> {
  if (Object.keys(set).length === 0) return
  await db.updateTable('rollout').set(set).where('id', '=', id).execute()
}

/** The same of its first phase. */
export async function boundPhase(
  { db }: RolloutWorld,
  id: string,
  set: Updateable<RolloutPhaseTable>,
): Promise<void> {
  await db
    .updateTable('rollout_phase')
    .set({ ...set, ...(set.kind && set.kind !== 'percent' ? { percent: null } : {}) })
    .where('rollout_id', '=', id)
    .where('no', '=', 1)
    .execute()
}

/** A running rollout to a group of its own, with bounds on it and on its first phase. */
export async function givenBounded(
  world: RolloutWorld,
  devices: number,
  of: Updateable<RolloutTable>,
  { rate, ...phase }: Updateable<RolloutPhaseTable> = {},
  phases?: readonly PhaseGiven[],
) {
  const given = await givenStarted(world, devices, phases)
  await act(world, given.rolloutId, 'pause')
  await bound(world, given.rolloutId, of)
  const set = { ...phase, ...(rate ? { rate: JSON.stringify(rate) } : {}) }
  if (Object.keys(set).length > 0) await boundPhase(world, given.rolloutId, set)
  await act(world, given.rolloutId, 'resume')
  return given
}
