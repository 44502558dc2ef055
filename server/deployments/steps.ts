import {
  type DeploymentState,
  mayMove,
  type Mover,
  openStates,
  stepsTo,
} from '../protocol/deployment.ts'
import type { Proof, Step } from './store.ts'

/** A move of one deployment, before it is known what else the report says. */
export interface Leg {
  from: DeploymentState
  to: DeploymentState
  by: Mover
}

/**
 * The moves that a device's report stands for, the reported state last; `[]` when it may not say so. A device that was
 * offline may have taken several: they are filled in, each one legal (updates.md §7.1). What the owner decided on the
 * device meanwhile, whose own message is late or lost, counts as done by the owner.
 */
export function reportedLegs(
  from: DeploymentState,
  to: DeploymentState,
  overridden = false,
): Leg[] {
  const decided = overridden ? overriddenLegs(from, to) : []
  if (decided.length > 0) return decided
  const direct = legs(from, stepsTo(from, to, 'device'), 'device')
  if (direct.length > 0) return direct
  // Opting out needs no limits; postponing does, and only the choice message itself can show that they are kept.
  if (to === 'opted_out') return choiceLegs(from, to)
  const first = backToTheNormalWay[from]
  return first ? after({ from, ...first }, to) : []
}

/** What a device does because two people decided it over its owner is an operator's move, and the rest is its own. */
function overriddenLegs(from: DeploymentState, to: DeploymentState): Leg[] {
  if (to === 'failed_final') return []
  if (from === 'queued') {
    const rest = overriddenLegs('offered', to)
    return rest.length > 0 ? [{ from, to: 'offered', by: 'device' }, ...rest] : []
  }
  return mayMove(from, 'accepted', 'operator')
    ? after({ from, to: 'accepted', by: 'operator' }, to)
    : []
}

/** The states beside the normal way, and the move that leads back to it. */
const backToTheNormalWay: Partial<Record<DeploymentState, Omit<Leg, 'from'>>> = {
  postponed: { to: 'offered', by: 'device' },
  opted_out: { to: 'offered', by: 'owner' },
  waiting_window: { to: 'installing', by: 'device' },
  failed: { to: 'downloading', by: 'device' },
}

function after(first: Leg, to: DeploymentState): Leg[] {
  if (first.to === to) return [first]
  const rest = legs(first.to, stepsTo(first.to, to, 'device'), 'device')
  return rest.length > 0 ? [first, ...rest] : []
}

/** The moves that an owner's choice stands for. The owner can only have chosen what the device was offered. */
export function choiceLegs(
  from: DeploymentState,
  to: 'accepted' | 'postponed' | 'opted_out' | 'offered',
): Leg[] {
  if (from === 'queued') {
    const rest = choiceLegs('offered', to)
    return rest.length > 0 ? [{ from, to: 'offered', by: 'device' }, ...rest] : []
  }
  return legs(from, stepsTo(from, to, 'owner'), 'owner')
}

function legs(from: DeploymentState, states: readonly DeploymentState[], by: Mover): Leg[] {
  return states.map((to, index) => ({ from: states[index - 1] ?? from, to, by }))
}

export function isOpen(state: DeploymentState): boolean {
  return openStates.includes(state)
}

/** History entries for the legs. What the report says belongs to its last one; the others were filled in. */
export function stepsOf(
  taken: readonly Leg[],
  said: Pick<Step, 'code' | 'detail' | 'reported_at'> & Partial<Proof>,
): Step[] {
  return taken.map(({ from, to, by }, index) => ({
    from_state: from,
    to_state: to,
    actor: by,
    ...(index === taken.length - 1 ? said : { code: null, detail: null, reported_at: null }),
  }))
}
