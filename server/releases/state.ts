import { DomainError } from '../errors.ts'

/** The life of a release: what it says is fixed by `submit`, who vouches for it by `publish`. */
const transitions = {
  draft: { submit: 'submitted', withdraw: 'withdrawn' },
  submitted: { submit: 'submitted', publish: 'published', withdraw: 'withdrawn' },
  published: { publish: 'published', withdraw: 'withdrawn' },
  withdrawn: {},
} as const satisfies Record<string, Record<string, string>>

type Transitions = typeof transitions
export type ReleaseState = keyof Transitions
export type ReleaseAction = { [S in ReleaseState]: keyof Transitions[S] }[ReleaseState]

transitions satisfies Record<ReleaseState, Partial<Record<ReleaseAction, ReleaseState>>>

export const releaseActions = [
  'submit',
  'publish',
  'withdraw',
] as const satisfies readonly ReleaseAction[]
export const releaseStates = Object.keys(transitions) as ReleaseState[]

export function nextReleaseState(state: ReleaseState, action: ReleaseAction): ReleaseState {
  const open: Partial<Record<ReleaseAction, ReleaseState>> = transitions[state]
  const next = open[action]
  if (next === undefined) {
    throw new DomainError('illegal-transition', `Cannot ${action} a release that is ${state}`, {
      state,
      action,
    })
  }
  return next
}
