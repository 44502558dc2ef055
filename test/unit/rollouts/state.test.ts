import { readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

import { rolloutStatesDocument, rolloutStatesFile } from '../../../scripts/update-states.ts'
import { nextRolloutState, operatorActions, rolloutStates } from '../../../server/rollouts/state.ts'

const legal: Record<string, string> = {
  'draft approve': 'approved',
  'draft start': 'running',
  'draft cancel': 'cancelled',
  'draft edit': 'draft',
  'approved edit': 'draft',
  'approved miss': 'draft',
  'running edit': 'running',
  'paused edit': 'paused',
  'approved approve': 'approved',
  'approved start': 'running',
  'approved cancel': 'cancelled',
  'running advance': 'running',
  'running pause': 'paused',
  'running finish': 'completed',
  'running fail': 'failed',
  'running cancel': 'cancelled',
  'paused approve': 'paused',
  'paused resume': 'running',
  'paused cancel': 'cancelled',
}

const actions = [...operatorActions, 'finish', 'fail', 'edit', 'miss'] as const
const all = rolloutStates.flatMap((state) => actions.map((action) => [state, action] as const))

test.each(all)('a %s rollout: %s', (state, action) => {
  const next = legal[`${state} ${action}`]
  if (next) expect(nextRolloutState(state, action)).toBe(next)
  else
    expect(() => nextRolloutState(state, action)).toThrow(
      `Cannot ${action} a rollout that is ${state}`,
    )
})

test('docs/rollout-states.md is made from the table of today', () => {
  expect(readFileSync(rolloutStatesFile, 'utf8'), 'run: node scripts/update-states.ts').toBe(
    rolloutStatesDocument(),
  )
})
