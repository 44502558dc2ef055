import { describe, expect, test } from 'vitest'

import { afterAction, authorityStates } from '../../server/authorities/state.ts'
import { deviceStates, nextDeviceState } from '../../server/devices/state.ts'
import { decidedState, requestActions, requestStates } from '../../server/enrollment/state.ts'
import { nextReleaseState, releaseActions, releaseStates } from '../../server/releases/state.ts'

/* The small state machines, each move and each that is none; rollouts and device updates have files of their own. */

interface Machine {
  name: string
  states: readonly string[]
  actions: readonly string[]
  /** `state action`: the state after it. */
  legal: Record<string, string>
  /** Undefined where it refuses. */
  next: (state: string, action: string) => string | undefined
}

function refusing(next: () => string): string | undefined {
  try {
    return next()
  } catch (error) {
    expect(error).toMatchObject({ code: 'illegal-transition' })
    return undefined
  }
}

const machines: Machine[] = [
  {
    name: 'a release',
    states: releaseStates,
    actions: releaseActions,
    legal: {
      'draft submit': 'submitted',
      'draft withdraw': 'withdrawn',
      'submitted submit': 'submitted',
      'submitted publish': 'published',
      'submitted withdraw': 'withdrawn',
      'published publish': 'published',
      'published withdraw': 'withdrawn',
    },
    next: (state, action) =>
      refusing(() => {
        return nextReleaseState(state as 'draft', action as 'submit')
      }),
  },
  {
    name: 'a device',
    states: deviceStates,
    actions: ['enroll', 'disable', 'enable', 'reinstate', 'revoke', 'retire'],
    legal: {
      'registered enroll': 'active',
      'registered disable': 'disabled',
      'registered revoke': 'revoked',
      'registered retire': 'retired',
      'active enroll': 'active',
      'active disable': 'disabled',
      'active revoke': 'revoked',
      'active retire': 'retired',
      'disabled enable': 'active',
      'disabled reinstate': 'registered',
      'disabled revoke': 'revoked',
      'disabled retire': 'retired',
    },
    next: (state, action) =>
      refusing(() => {
        return nextDeviceState(state as 'active', action as 'enroll')
      }),
  },
  {
    name: 'an authority',
    states: authorityStates,
    actions: ['activate', 'retire'],
    legal: {
      'prepared activate': 'active',
      'prepared retire': 'retired',
      'accepted activate': 'active',
      'accepted retire': 'retired',
    },
    next: (state, action) =>
      refusing(() => {
        return afterAction(state as 'active', action as 'activate')
      }),
  },
  {
    name: 'a request to enroll',
    states: requestStates,
    actions: requestActions,
    legal: {
      'pending approve': 'approved',
      'pending deny': 'denied',
      'approved deny': 'denied',
    },
    next: (state, action) => decidedState(state as 'pending', action as 'approve'),
  },
]

describe.each(machines)('$name', ({ states, actions, legal, next }) => {
  const moves = states.flatMap((state) => actions.map((action) => ({ state, action })))

  test('every legal move is one of its moves', () => {
    const all = new Set(moves.map(({ state, action }) => `${state} ${action}`))
    expect(Object.keys(legal).filter((move) => !all.has(move))).toEqual([])
  })

  test.each(moves)('$state: $action', ({ state, action }) => {
    expect(next(state, action)).toBe(legal[`${state} ${action}`])
  })
})
