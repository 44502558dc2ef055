import { expect, test } from 'vitest'

import { waitsForWords } from '../../../cli/abort-rules.ts'
import type { ApiClient } from '../../../cli/api.ts'
import type { Surroundings } from '../../../cli/command.ts'
import { exitCodes, Failure } from '../../../cli/failure.ts'
import { createOutput } from '../../../cli/output.ts'
import { extentText } from '../../../cli/phase-bounds.ts'
import { type Goal, noteOf, watchRollout } from '../../../cli/watch.ts'
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
  certificate: null,
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
  limits: {},
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
async function watch(
  views: (RolloutView | undefined)[],
  abortAfter = Number.POSITIVE_INFINITY,
  goal?: Goal,
) {
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
    // A second for each look.
    now: () => new Date(looks * 1_000),
    sleep: async () => {},
    signal: stop.signal,
  } as unknown as Surroundings
  const out = createOutput({ write: () => {} }, false)
  const result = await watchRollout(api, 'r', { world, out }, goal).catch((error: unknown) => error)
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

const wait = async (views: (RolloutView | undefined)[], goal: Goal = {}) =>
  await watch(views, undefined, goal)

test.each([
  ['paused', 5],
  ['failed', 6],
  ['cancelled', 7],
] as const)('who waits for one that is %s gets exit code %i', async (state, exitCode) => {
  const { result } = await wait([rollout({}), rollout({ state })])
  expect(result).toMatchObject({ code: `rollout-${state}`, exitCode })
})

test('who waits gets what completed; before the start, too', async () => {
  const { result } = await wait([
    rollout({ state: 'approved', phase: 0 }),
    rollout({}),
    rollout({ state: 'completed' }),
  ])
  expect(result).toMatchObject({ state: 'completed' })
})

test('the time is over: exit code 8, also while the server is away', async () => {
  const until = new Date(5_000)
  const late = await wait([rollout({})], { until })
  expect(late.result).toMatchObject({ code: 'timeout', exitCode: 8 })
  expect(late.looks).toBe(5)
  const away = await wait([rollout({}), undefined], { until })
  expect(away.result).toMatchObject({ exitCode: 8 })
  const inTime = await wait([rollout({}), rollout({ state: 'completed' })], { until })
  expect(inTime.result).toMatchObject({ state: 'completed' })
})

test('through with a phase: the next is open, or a person is waited for, or all is done', async () => {
  const goal = { phase: 1 }
  for (const view of [
    rollout({ phase: 2 }),
    rollout({ phase: 1, waitsFor: 'hold' }),
    rollout({ phase: 2, state: 'completed' }),
    // What happens after that phase is not what was waited for.
    rollout({ phase: 2, state: 'paused' }),
  ]) {
    expect((await wait([rollout({ phase: 1 }), view], goal)).result).toEqual(view)
  }
  const stopped = await wait([rollout({ phase: 1, state: 'paused' })], goal)
  expect(stopped.result).toMatchObject({ exitCode: 5 })
})

test('a script that is stopped has not waited', async () => {
  const { result } = await watch([rollout({})], 2, {})
  expect(result).toMatchObject({ exitCode: 1 })
})

test('what a rollout waits for, and whom a phase takes, is said in words', () => {
  const executed = rollout({ waitsFor: 'executed' })
  expect(waitsForWords(executed)).toBe('devices that come to an end: 0 of at least 1 did')
  const open = { ...phase(1, 10), executed: 6, succeeded: 2 }
  expect(waitsForWords(rollout({ waitsFor: 'share', phases: [open] }))).toBe(
    'more that succeed: 2 of 6 did, and 95 % are needed',
  )
  expect(waitsForWords(rollout({ waitsFor: 'hold' }))).toContain('fleetseal rollout advance')
  expect(waitsForWords(rollout({}))).toBeNull()
  const ofAnother = { ...phase(1, 10), percent: null }
  expect([phase(1, 10), { ...ofAnother, count: 5 }, ofAnother].map(extentText)).toEqual([
    '10%',
    'first 5',
    'the devices of the other rollout',
  ])
})

test('says what it waits for', () => {
  expect(
    noteOf(rollout({ waitsFor: 'hold', counts: { succeeded: 2, downloading: 1 }, succeeded: 2 })),
  ).toBe(
    'running: phase 1 of 2 (10%), 2 succeeded, 1 downloading; waits for: fleetseal rollout advance',
  )
})
