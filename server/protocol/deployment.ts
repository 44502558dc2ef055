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

type Moves = Partial<Record<DeploymentState, readonly Mover[]>>

/** Ends that an operator or the engine may bring about before anything is written to a slot. */
const stoppable: Moves = {
  cancelled: ['operator', 'engine'],
  superseded: ['engine'],
  expired: ['engine'],
}
/** Once the device works on it: no word past the limit is `lost`, a refusal for good is `failed_final`. */
const started: Moves = { lost: ['engine'], failed_final: ['device', 'engine'] }

const moves: Record<DeploymentState, Moves> = {
  queued: { offered: ['device'], failed_final: ['device'], ...stoppable },
  offered: {
    postponed: ['owner'],
    accepted: ['owner', 'device'],
    opted_out: ['owner'],
    failed_final: ['device'],
    ...stoppable,
  },
  postponed: {
    offered: ['device'],
    accepted: ['owner', 'device'],
    opted_out: ['owner'],
    postponed: ['owner'],
    failed_final: ['device'],
    ...stoppable,
  },
  opted_out: { accepted: ['owner'], offered: ['owner'], ...stoppable },
  accepted: { downloading: ['device'], ...started, ...stoppable },
  downloading: {
    downloading: ['device'],
    verified: ['device'],
    failed: ['device'],
    ...started,
    ...stoppable,
  },
  verified: {
    waiting_window: ['device'],
    installing: ['device'],
    failed: ['device'],
    ...started,
    ...stoppable,
  },
  waiting_window: { installing: ['device'], ...started, ...stoppable },
  installing: { installed: ['device'], failed: ['device'], ...started },
  installed: { rebooting: ['device'], ...started },
  rebooting: { testing: ['device'], rolled_back: ['device'], ...started },
  testing: { succeeded: ['device'], rolled_back: ['device'], ...started },
  failed: { downloading: ['device'], ...started, ...stoppable },
  succeeded: {},
  rolled_back: {},
  failed_final: {},
  cancelled: {},
  superseded: {},
  expired: {},
  // A later report revives what was given up for lost, at whatever step the device really is.
  lost: {
    accepted: ['device'],
    downloading: ['device'],
    verified: ['device'],
    waiting_window: ['device'],
    installing: ['device'],
    installed: ['device'],
    rebooting: ['device'],
    testing: ['device'],
    succeeded: ['device'],
    rolled_back: ['device'],
    failed: ['device'],
    failed_final: ['device'],
  },
}

/** States in which a device still has, or may again have, something to do. Mirrors the index `deployment_open`. */
export const openStates = deploymentStates.filter(
  (state) => Object.keys(moves[state]).length > 0 && state !== 'lost',
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
/** Taken back by the operator or the engine: not from `installing` on. */
export const stoppableStates = deploymentStates.filter((state) => moves[state].cancelled)

export function mayMove(from: DeploymentState, to: DeploymentState, by: Mover): boolean {
  return moves[from][to]?.includes(by) ?? false
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
