/**
 * The device-update state machine (updates.md §7.1): one table that server and device share. Each move says who may
 * cause it. `engine` is the server's rollout engine and its timers.
 */
export const deploymentStates = [
  'queued',
  'offered',
  'postponed',
  'accepted',
  'opted_out',
  'downloading',
  'verified',
  'waiting_window',
  'installing',
  'installed',
  'rebooting',
  'testing',
  'succeeded',
  'rolled_back',
  'failed',
  'failed_final',
  'cancelled',
  'superseded',
  'expired',
  'lost',
] as const
export type DeploymentState = (typeof deploymentStates)[number]
export type Mover = 'device' | 'owner' | 'engine' | 'operator'

export interface Move {
  /** Whoever else says so is refused. */
  by: readonly Mover[]
  /** In words, for docs/device-update-states.md. */
  when: string
}
type Moves = Partial<Record<DeploymentState, Move>>

const device = ['device'] as const
const owner = ['owner'] as const
const engine = ['engine'] as const

/** Ends that an operator or the engine may bring about before anything is written to a slot. */
const stoppable: Moves = {
  cancelled: {
    by: ['operator', 'engine'],
    when: 'the rollout is cancelled, the release withdrawn',
  },
  superseded: { by: engine, when: 'a newer release takes its place' },
  expired: { by: engine, when: 'the rollout has ended, or the device is gone for good' },
}
/** Once the device works on it: no word past the limit is `lost`, a refusal for good is `failed_final`. */
const started: Moves = {
  lost: { by: engine, when: 'no word past the limit of the state' },
  failed_final: { by: ['device', 'engine'], when: 'the fifth try, or a code that is final' },
}
const refused: Move = { by: device, when: 'the device refuses it: any attack code' }
const accepted: Move = {
  by: ['owner', 'device', 'operator'],
  when: 'the owner accepts; automatic class, or the deadline; an override on a managed device',
}
const postponed: Move = { by: owner, when: 'within the signed limits' }
const optedOut: Move = { by: owner, when: 'no automatic installation' }
const failed: Move = { by: device, when: 'a try failed; the next one follows after a pause' }
const rolledBack: Move = {
  by: device,
  when: 'health failed or time ran out, and the old slot runs',
}
const revived: Move = { by: device, when: 'a later report says where the device really is' }

/** `from` → `to`. docs/device-update-states.md is made of it (scripts/update-states.ts). */
export const moves: Readonly<Record<DeploymentState, Moves>> = {
  queued: {
    offered: { by: device, when: 'the bundle was verified; the acknowledgement starts the clock' },
    failed_final: refused,
    ...stoppable,
    expired: {
      by: engine,
      when: 'not acknowledged for a day (it is given anew), the rollout has ended, or the device is gone for good',
    },
  },
  offered: { postponed, accepted, opted_out: optedOut, failed_final: refused, ...stoppable },
  postponed: {
    offered: { by: device, when: '`until` is reached, or there is a new advisory' },
    postponed,
    accepted,
    opted_out: optedOut,
    failed_final: refused,
    ...stoppable,
  },
  opted_out: {
    accepted: {
      by: ['owner', 'operator'],
      when: 'the owner installs it after all; an override on a managed device',
    },
    offered: { by: owner, when: 'opted in again' },
    ...stoppable,
  },
  accepted: {
    downloading: { by: device, when: 'the preconditions hold' },
    ...started,
    ...stoppable,
  },
  downloading: {
    downloading: { by: device, when: 'progress, which is no history' },
    verified: { by: device, when: 'all hashes are right' },
    failed,
    ...started,
    ...stoppable,
  },
  verified: {
    waiting_window: { by: device, when: 'window, quiet hours or preconditions are waited for' },
    installing: { by: device, when: 'nothing is waited for' },
    failed,
    ...started,
    ...stoppable,
  },
  waiting_window: {
    installing: { by: device, when: 'window, quiet hours and preconditions allow it' },
    ...started,
    ...stoppable,
  },
  installing: {
    installed: { by: device, when: 'the slot was written and read back' },
    failed,
    ...started,
  },
  installed: { rebooting: { by: device, when: 'the slot was made active' }, ...started },
  rebooting: {
    testing: { by: device, when: 'the new image runs' },
    rolled_back: rolledBack,
    ...started,
  },
  testing: {
    succeeded: { by: device, when: 'self-test, new contact and the nonce of the server' },
    rolled_back: rolledBack,
    ...started,
  },
  failed: {
    downloading: { by: device, when: 'another try, with growing pauses, five in all' },
    ...started,
    ...stoppable,
  },
  succeeded: {
    rolled_back: { by: engine, when: 'the old version runs again before the rollout has ended' },
  },
  rolled_back: {},
  failed_final: {},
  cancelled: {
    installing: {
      by: engine,
      when: 'a polling device refuses the cancellation: it installs already',
    },
  },
  superseded: {},
  expired: {},
  // A later report revives what was given up for lost, at whatever step the device really is.
  lost: {
    accepted: revived,
    downloading: revived,
    verified: revived,
    waiting_window: revived,
    installing: revived,
    installed: revived,
    rebooting: revived,
    testing: revived,
    succeeded: revived,
    rolled_back: revived,
    failed: revived,
    failed_final: revived,
  },
}

/** Ended, though something that is learned later may still correct how. */
const correctable: readonly DeploymentState[] = ['succeeded', 'lost', 'cancelled']

/** States in which a device still has, or may again have, something to do. Mirrors the index `deployment_open`. */
export const openStates = deploymentStates.filter(
  (state) => Object.keys(moves[state]).length > 0 && !correctable.includes(state),
)
/** States in which a deployment is over, with or without a verdict. */
export const endedStates = deploymentStates.filter((state) => !openStates.includes(state))
/** Ends with a verdict: the denominator of every share (rollouts.md §7). */
export const executedStates = [
  'succeeded',
  'failed_final',
  'rolled_back',
  'lost',
] as const satisfies readonly DeploymentState[]
/** Ends of a release that only leads to another one which say nothing about that one: the device may go on to it. */
export const passedStates = [
  'succeeded',
  'superseded',
  'cancelled',
] as const satisfies readonly DeploymentState[]
/** Taken back by the operator or the engine: not from `installing` on. */
export const stoppableStates = deploymentStates.filter((state) => moves[state].cancelled)

export function mayMove(from: DeploymentState, to: DeploymentState, by: Mover): boolean {
  return moves[from][to]?.by.includes(by) ?? false
}

/** The normal way through, in order: a report may skip steps that the device took while it was offline. */
const path = [
  'queued',
  'offered',
  'accepted',
  'downloading',
  'verified',
  'installing',
  'installed',
  'rebooting',
  'testing',
  'succeeded',
] as const satisfies readonly DeploymentState[]

/**
 * The states a report leads through, the reported one last; `[]` when the move is not open to that mover.
 * Skipped steps of the normal way are filled in, each being a legal move of its own (updates.md §7.1), so that
 * history has no holes; nothing is ever skipped backward.
 */
export function stepsTo(from: DeploymentState, to: DeploymentState, by: Mover): DeploymentState[] {
  if (mayMove(from, to, by)) return [to]
  const start = (path as readonly DeploymentState[]).indexOf(from)
  if (start < 0) return []
  const steps: DeploymentState[] = []
  let at: DeploymentState = from
  for (const next of path.slice(start + 1)) {
    if (mayMove(at, to, by)) return [...steps, to]
    if (!mayMove(at, next, by)) return []
    steps.push(next)
    at = next
    if (next === to) return steps
  }
  return mayMove(at, to, by) ? [...steps, to] : []
}
