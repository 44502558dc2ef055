import { expect, test } from 'vitest'

import type { ApiClient } from '../../../cli/client.ts'
import type { Surroundings } from '../../../cli/command.ts'
import { exitCodes, Failure } from '../../../cli/failure.ts'
import { createOutput } from '../../../cli/output.ts'
import { noteOf, watchRollout } from '../../../cli/watch.ts'
import type { RolloutView } from '../../../server/rollouts/wire.ts'

const phase = (no: number, percent: number) => ({
  no,
  percent,
  count: null,
  cohort: null,
  seenWithin: null,
  rate: null,
  admitted: 0,
  success: { percent: 95, minExecuted: 1, soak: null, maxPutOff: null, within: null },
  hold: no === 1,
  openedAt: null,
  soakUntil: null,
  heldAt: null,
  counts: {},
  executed: 0,
  succeeded: 0,
})

const rollout = (more: Partial<RolloutView>): RolloutView => ({
  id: 'r',
  name: 'r',
  with: [],
  releaseId: 'x',
  query: null,
  groupId: 'g',
  priority: 500,
  maxInFlight: null,
  bytesPerMinute: null,
  passQueue: false,
  window: null,
  ignoreWindows: null,
  state: 'running',
  phase: 1,
  reason: null,
  abort: { defaults: true, rules: [] },
  waitsFor: null,
  phases: [phase(1, 10), phase(2, 100)],
  counts: {},
  executed: 0,
  succeeded: 0,
  failed: 0,
  approvals: { needed: 0, missing: 0, given: [] },
  definitionHash: null,
  editedBy: null,
  kind: 'update',
  parentId: null,
  createdBy: 'key:x',
  createdAt: '2030-01-01T00:00:00Z',
  changedAt: '2030-01-01T00:00:00Z',
  startAt: null,
  startedAt: null,
  endedAt: null,
  ...more,
})

/** Answers one view after the other; `undefined` is a server that is away. */
async function watch(views: (RolloutView | undefined)[], abortAfter = Number.POSITIVE_INFINITY) {
  let drawn = ''
  let looks = 0
  const stop = new AbortController()
  const away = new Failure('unreachable', 'away', { exitCode: exitCodes.unreachable })
  const api = {
    get: async (_schema: unknown, path: string) => {
      if (path.startsWith('/groups')) return { deviceCount: 4 }
      const view = views[Math.min(looks++, views.length - 1)]
      if (looks > abortAfter) stop.abort()
      if (!view) throw away
      return view
    },
  } as unknown as ApiClient
  const stderr = { write: (text: string) => (drawn += text) }
  const world = {
    stderr,
    now: () => new Date(0),
    sleep: async () => {},
    signal: stop.signal,
  } as unknown as Surroundings
  const out = createOutput({ write: () => {} }, false)
  const result = await watchRollout(api, 'r', { world, out }).catch((error: unknown) => error)
  return { result, drawn, looks }
}

test('follows until it has completed; the bar ends full', async () => {
  const { result, drawn } = await watch([
    rollout({ executed: 1, succeeded: 1 }),
    rollout({ state: 'completed', phase: 2, executed: 3, succeeded: 3 }),
  ])
  expect(result).toMatchObject({ state: 'completed' })
  expect(drawn).toContain(' 25%')
  expect(drawn).toContain('100%')
})

test.each(['failed', 'cancelled', 'paused'] as const)(
  'a rollout that is %s is a failure',
  async (state) => {
    const { result } = await watch([rollout({ state, reason: 'three of three failed' })])
    expect(result).toMatchObject({ code: `rollout-${state}`, exitCode: 1 })
    expect(String(result)).toContain('three of three failed')
  },
)

test('a server that restarts is waited for, but not for ever', async () => {
  const patient = await watch([rollout({}), undefined, undefined, rollout({ state: 'completed' })])
  expect(patient.result).toMatchObject({ state: 'completed' })
  const gone = await watch([rollout({}), undefined])
  expect(gone.result).toMatchObject({ exitCode: 3 })
  expect(gone.looks).toBeLessThan(100)
})

test('Ctrl-C leaves it running', async () => {
  const { result } = await watch([rollout({})], 3)
  expect(result).toMatchObject({ state: 'running' })
})

test('says what it waits for', () => {
  expect(
    noteOf(rollout({ waitsFor: 'hold', counts: { succeeded: 2, downloading: 1 }, succeeded: 2 })),
  ).toBe(
    'running: phase 1 of 2 (10%), 2 succeeded, 1 downloading; waits for: fleetseal rollout advance',
  )
})
