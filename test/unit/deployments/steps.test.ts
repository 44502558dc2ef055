import { describe, expect, test } from 'vitest'

import { choiceLegs, reportedLegs } from '../../../server/deployments/steps.ts'
import {
  type DeploymentState,
  deploymentStates,
  endedStates,
  mayMove,
  stepsTo,
} from '../../../server/protocol/deployment.ts'

const normalWay = [
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

const pairs = deploymentStates.flatMap((from) => deploymentStates.map((to) => [from, to] as const))

describe('stepsTo, every pair of states', () => {
  test.each(['device', 'owner', 'engine', 'operator'] as const)('by %s', (mover) => {
    for (const [from, to] of pairs) {
      const steps = stepsTo(from, to, mover)
      if (mayMove(from, to, mover)) expect(steps).toEqual([to])
      if (steps.length === 0) continue
      expect(steps.at(-1)).toBe(to)
      let at: DeploymentState = from
      for (const next of steps) {
        expect(mayMove(at, next, mover), `${from} to ${to}: ${at} to ${next}`).toBe(true)
        at = next
      }
    }
  })
})

describe('what a report may stand for', () => {
  test('every leg is legal for the one who made it, and they are joined', () => {
    for (const [from, to] of pairs) {
      const legs = reportedLegs(from, to)
      let at: DeploymentState = from
      for (const leg of legs) {
        expect(leg.from).toBe(at)
        expect(mayMove(leg.from, leg.to, leg.by), `${from} to ${to}: ${JSON.stringify(leg)}`).toBe(
          true,
        )
        at = leg.to
      }
      if (legs.length > 0) expect(at).toBe(to)
    }
  })

  test('forward on the normal way, always; backward, never', () => {
    for (const [a, from] of normalWay.entries()) {
      for (const [b, to] of normalWay.entries()) {
        const legs = reportedLegs(from, to)
        if (b > a) expect(legs.map((leg) => leg.to)).toEqual(normalWay.slice(a + 1, b + 1))
        else if (from === 'downloading' && to === from) expect(legs).toHaveLength(1)
        else expect(legs, `${from} to ${to}`).toEqual([])
      }
    }
  })

  test('an ended deployment stays so, and only the device revives a lost one', () => {
    for (const from of endedStates) {
      for (const to of deploymentStates) {
        const legs = reportedLegs(from, to)
        if (from !== 'lost') expect(legs, `${from} to ${to}`).toEqual([])
      }
    }
    expect(reportedLegs('lost', 'downloading')).toEqual([
      { from: 'lost', to: 'downloading', by: 'device' },
    ])
    expect(reportedLegs('lost', 'offered')).toEqual([])
  })

  test('no report makes the engine or an operator move, or postpones', () => {
    for (const [from, to] of pairs) {
      if (['cancelled', 'superseded', 'expired', 'lost', 'postponed', 'queued'].includes(to)) {
        expect(reportedLegs(from, to), `${from} to ${to}`).toEqual([])
      }
    }
  })

  test.each([
    ['postponed', 'downloading', ['offered', 'accepted', 'downloading']],
    ['opted_out', 'accepted', ['offered', 'accepted']],
    ['failed', 'verified', ['downloading', 'verified']],
    ['waiting_window', 'installed', ['installing', 'installed']],
    ['queued', 'failed_final', ['failed_final']],
    ['installing', 'rolled_back', ['installed', 'rebooting', 'rolled_back']],
    ['offered', 'opted_out', ['opted_out']],
  ] as const)('from %s, reporting %s', (from, to, states) => {
    expect(reportedLegs(from, to).map((leg) => leg.to)).toEqual(states)
  })
})

test('an owner chooses only about what was offered and has not begun', () => {
  const open: DeploymentState[] = ['queued', 'offered', 'postponed', 'opted_out']
  for (const from of deploymentStates) {
    for (const to of ['accepted', 'postponed', 'opted_out', 'offered'] as const) {
      const legs = choiceLegs(from, to)
      if (!open.includes(from)) expect(legs, `${from} to ${to}`).toEqual([])
    }
  }
  expect(choiceLegs('queued', 'opted_out')).toEqual([
    { from: 'queued', to: 'offered', by: 'device' },
    { from: 'offered', to: 'opted_out', by: 'owner' },
  ])
  expect(choiceLegs('opted_out', 'postponed')).toEqual([])
})
