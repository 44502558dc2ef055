import { DomainError } from '../errors.ts'

/**
 * The life of a rollout. Add a state here and the compiler, the check constraint test and the docs follow.
 * `advance` opens the next phase; `fail` is for the abort rules, which may end a rollout for good. `approve` is where an
 * approval may be given; a draft moves by it once there are enough. `miss` is a
 * scheduled start that could not be: somebody has to look.
 */
const transitions = {
  draft: { edit: 'draft', approve: 'approved', start: 'running', cancel: 'cancelled' },
  approved: {
    edit: 'draft',
    approve: 'approved',
    start: 'running',
    miss: 'draft',
    cancel: 'cancelled',
  },
  running: {
    edit: 'running',
    advance: 'running',
    pause: 'paused',
    finish: 'completed',
    fail: 'failed',
    cancel: 'cancelled',
  },
  paused: { edit: 'paused', approve: 'paused', resume: 'running', cancel: 'cancelled' },
  completed: {},
  failed: {},
  cancelled: {},
} as const satisfies Record<string, Record<string, string>>

type Transitions = typeof transitions
export type RolloutState = keyof Transitions
export type RolloutAction = { [S in RolloutState]: keyof Transitions[S] }[RolloutState]

// A target that is not itself a state fails to compile here.
transitions satisfies Record<RolloutState, Partial<Record<RolloutAction, RolloutState>>>

/** The actions a person may take; the rest belong to the rollout worker. */
export const operatorActions = [
  'approve',
  'start',
  'advance',
  'pause',
  'resume',
  'cancel',
] as const satisfies readonly RolloutAction[]

/** Who takes each action, and when. The docs are made from this. */
export const rolloutMoves: Record<RolloutAction, { by: 'person' | 'engine'; when: string }> = {
  edit: { by: 'person', when: 'what it does is changed; words for the old definition are void' },
  approve: { by: 'person', when: 'a word for the definition; a draft moves once there are enough' },
  start: { by: 'person', when: 'or the engine, when it is approved and its time has come' },
  miss: { by: 'engine', when: 'its time has come and it cannot be started' },
  advance: { by: 'person', when: 'the next phase is opened, by the engine when the gate is met' },
  pause: {
    by: 'person',
    when: 'or the engine, by a rule; or an edit, where others have to approve',
  },
  resume: { by: 'person', when: 'approvals and releases are looked at again' },
  finish: { by: 'engine', when: 'all who were met have ended, and nobody is left to meet' },
  fail: { by: 'engine', when: 'a rule ends it for good' },
  cancel: { by: 'person', when: 'or the engine, by a rule or because a release was withdrawn' },
}

export const rolloutStates = Object.keys(transitions) as RolloutState[]

/** The state after `action`, or undefined when the action is not open from here. */
export function afterRolloutAction(
  state: RolloutState,
  action: RolloutAction,
): RolloutState | undefined {
  const open: Partial<Record<RolloutAction, RolloutState>> = transitions[state]
  return open[action]
}

export function nextRolloutState(state: RolloutState, action: RolloutAction): RolloutState {
  const next = afterRolloutAction(state, action)
  if (next === undefined) {
    throw new DomainError('illegal-transition', `Cannot ${action} a rollout that is ${state}`, {
      state,
      action,
    })
  }
  return next
}
