import type { Updateable } from 'kysely'

import type { RolloutPhaseTable, RolloutTable } from '../../server/db/schema.ts'
import { offerHoldsMs, slotStates } from '../../server/rollouts/bounds-store.ts'
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

/** Bounds that were passed by one of these rollouts, whose bounds stayed as they are since the start. */
export async function brokenBounds(
  { db }: RolloutWorld,
  rolloutIds: readonly string[],
): Promise<string[]> {
  const broken: string[] = []
  for (const id of rolloutIds) {
    const rollout = await db
      .selectFrom('rollout')
      .selectAll()
      .where('id', '=', id)
      .executeTakeFirstOrThrow()
    const phases = await db
      .selectFrom('rollout_phase')
      .selectAll()
      .where('rollout_id', '=', id)
      .execute()
    const moves = await db
      .selectFrom('deployment_event')
      .innerJoin('deployment', 'deployment.id', 'deployment_event.deployment_id')
      .select(['deployment_id', 'from_state', 'to_state', 'at', 'phase_no', 'device_id'])
      .where('rollout_id', '=', id)
      .orderBy('seq')
      .execute()
    const most = mostInFlight(moves)
    if (most > (rollout.max_in_flight ?? Infinity)) broken.push(`${most} in flight in ${id}`)
    const admissions = moves.filter((move) => move.from_state === null)
    for (const { no, count, admitted, rate } of phases) {
      const own = admissions.filter((move) => move.phase_no === no)
      const devices = new Set(own.map((move) => move.device_id)).size
      if (devices > (count ?? Infinity)) broken.push(`${devices} in phase ${no} of ${id}`)
      if (count !== null && devices !== admitted) broken.push(`${admitted} counted for ${devices}`)
      const { perMinute = Infinity } = (rate ?? {}) as { perMinute?: number }
      const inMinute = mostInMinute(own.map((move) => move.at.getTime()))
      if (inMinute > perMinute) broken.push(`${inMinute} in a minute of ${id}`)
    }
  }
  return broken
}

interface Moved {
  deployment_id: string
  from_state: string | null
  to_state: string
  at: Date
}

/** At any admission; of those that never came back from a state without a slot, for these are not refused. */
function mostInFlight(moves: readonly Moved[]): number {
  const histories = Map.groupBy(moves, (move) => move.deployment_id)
  const isPlain = (id: string) => {
    const own = histories.get(id) ?? []
    const offered = own.find((move) => move.to_state === 'offered')
    const hourLater = (offered?.at.getTime() ?? Infinity) + offerHoldsMs
    return own.every(
      ({ from_state, at }) =>
        from_state === null ||
        holding.has(from_state) ||
        (from_state === 'offered' && at.getTime() < hourLater),
    )
  }
  const states = new Map<string, Moved>()
  let most = 0
  for (const move of moves) {
    if (!isPlain(move.deployment_id)) continue
    states.set(move.deployment_id, move)
    if (move.from_state !== null) continue
    const held = [...states.values()].filter(
      ({ to_state, at }) =>
        holding.has(to_state) ||
        (to_state === 'offered' && at.getTime() > move.at.getTime() - offerHoldsMs),
    )
    most = Math.max(most, held.length)
  }
  return most
}

const holding = new Set<string>(slotStates)

/** Both ends included. */
export function mostInMinute(instants: readonly number[]): number {
  const sorted = instants.toSorted((a, b) => a - b)
  let most = 0
  let from = 0
  for (const [n, at] of sorted.entries()) {
    while (at - (sorted[from] ?? at) > 60_000) from++
    most = Math.max(most, n - from + 1)
  }
  return most
}
