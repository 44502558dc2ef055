import { DomainError } from '../errors.ts'

/**
 * The life of a device. `revoked` and `retired` are final: such a device enrolls anew as another record.
 * `reinstate` is what `enable` means for a device that never enrolled.
 */
const transitions = {
  registered: { enroll: 'active', disable: 'disabled', revoke: 'revoked', retire: 'retired' },
  active: { enroll: 'active', disable: 'disabled', revoke: 'revoked', retire: 'retired' },
  disabled: { enable: 'active', reinstate: 'registered', revoke: 'revoked', retire: 'retired' },
  revoked: {},
  retired: {},
} as const satisfies Record<string, Record<string, string>>

type Transitions = typeof transitions
export type DeviceState = keyof Transitions
export type DeviceAction = { [S in DeviceState]: keyof Transitions[S] }[DeviceState]

// A target that is not itself a state fails to compile here.
transitions satisfies Record<DeviceState, Partial<Record<DeviceAction, DeviceState>>>

/** The actions a person may take; `enroll` belongs to EST. */
export const operatorActions = [
  'disable',
  'enable',
  'revoke',
  'retire',
] as const satisfies readonly DeviceAction[]

export const deviceStates = Object.keys(transitions) as DeviceState[]

export function nextDeviceState(state: DeviceState, action: DeviceAction): DeviceState {
  const open: Partial<Record<DeviceAction, DeviceState>> = transitions[state]
  const next = open[action]
  if (next === undefined) {
    throw new DomainError('illegal-transition', `Cannot ${action} a device that is ${state}`, {
      state,
      action,
    })
  }
  return next
}
