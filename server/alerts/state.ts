import { DomainError } from '../errors.ts'

/** An alert takes in what belongs to it until it is resolved; nobody is told again once it is acknowledged. */
export const alertStates = ['open', 'acknowledged', 'resolved'] as const
export type AlertState = (typeof alertStates)[number]

export const alertActions = ['acknowledge', 'resolve'] as const
export type AlertAction = (typeof alertActions)[number]

export const channelKinds = ['webhook', 'email'] as const
export type ChannelKind = (typeof channelKinds)[number]

export const mailStates = ['pending', 'delivered', 'dead'] as const
export type MailState = (typeof mailStates)[number]

const moves: Readonly<Record<AlertState, Partial<Record<AlertAction, AlertState>>>> = {
  open: { acknowledge: 'acknowledged', resolve: 'resolved' },
  acknowledged: { resolve: 'resolved' },
  resolved: {},
}

/** @throws DomainError `illegal-transition` */
export function nextAlertState(state: AlertState, action: AlertAction): AlertState {
  const next = moves[state][action]
  if (next) return next
  throw new DomainError('illegal-transition', `An alert that is ${state} cannot be ${action}d`, {
    state,
    action,
  })
}
