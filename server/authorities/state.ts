import { DomainError } from '../errors.ts'

export const authorityPurposes = ['root', 'devices', 'servers', 'claims'] as const
export type AuthorityPurpose = (typeof authorityPurposes)[number]

/** What an authority below the root issues certificates for. */
export const issuerPurposes = ['devices', 'servers', 'claims'] as const
export type IssuerPurpose = (typeof issuerPurposes)[number]

/** What an authority may sign with. */
export const authorityAlgorithms = [
  'P-256',
  'P-384',
  'RSA-3072',
  'RSA-4096',
  'ML-DSA-65',
  'ML-DSA-87',
] as const
export type AuthorityAlgorithm = (typeof authorityAlgorithms)[number]

/** Authorities of one series follow one another; enrollment profiles name a series. */
export const defaultSeries = 'default'

/**
 * `prepared`: every process and device learns of it, it issues nothing yet. `active`: the one of its purpose that issues.
 * `accepted`: another one issues now, and what this one issued still counts. `retired`: nothing of it counts.
 */
export const authorityStates = ['prepared', 'active', 'accepted', 'retired'] as const
export type AuthorityState = (typeof authorityStates)[number]

export const authorityActions = ['activate', 'retire', 'destroy-key'] as const
export type AuthorityAction = (typeof authorityActions)[number]

type Move = Exclude<AuthorityAction, 'destroy-key'>

const moves: Record<AuthorityState, Partial<Record<Move, AuthorityState>>> = {
  prepared: { activate: 'active', retire: 'retired' },
  active: {},
  // Back to the one before, while it is still there.
  accepted: { activate: 'active', retire: 'retired' },
  retired: {},
}

/** The state after an action. Throws DomainError `illegal-transition`. */
export function afterAction(state: AuthorityState, action: Move): AuthorityState {
  const next = moves[state][action]
  if (next) return next
  throw new DomainError('illegal-transition', `Cannot ${action} an authority that is ${state}`, {
    state,
    ...(state === 'active'
      ? {
          nextStep:
            'Activate another one of its purpose and series first; the last of a series is retired when no enrollment profile names it',
        }
      : {}),
  })
}
