import { describe, expect, test } from 'vitest'

import type { Task } from '../../../device-sim/update/journal.ts'
import { maxAttempts, nextStep, type Situation } from '../../../device-sim/update/machine.ts'
import type { BootRecord, SlotInfo } from '../../../device-sim/update/slots.ts'
import { type DeploymentState, deploymentStates } from '../../../server/protocol/deployment.ts'

const now = Date.parse('2026-11-23T09:00:00Z')
const info: SlotInfo = {
  sha256: 'a'.repeat(64),
  length: 1,
  version: '1',
  build: 1,
  svn: 0,
  bootable: true,
  successful: true,
  tries: 0,
}
const fresh = { ...info, successful: false, tries: 2 }

function at(state: DeploymentState, change: Partial<Task> = {}): Task {
  return {
    deploymentId: '0192f3c9-10aa-7b41-8f00-5d2c9be1a0f3',
    state,
    target: {
      path: 'fw/gate-2/2/main.bin',
      component: 'main',
      version: '2',
      build: 2,
      svn: 0,
      length: 1,
      sha256: 'b'.repeat(64),
      fixes: [],
    },
    policy: {
      class: 'security',
      auto: true,
      consent: 'none',
      optOut: 'honored',
      urgency: 'normal',
      window: [],
    },
    accepted: false,
    attempts: 0,
    also: [],
    ...change,
  }
}

function situation(task: Task | undefined, change: Partial<Situation> = {}): Situation {
  return {
    task,
    offer: { key: 'k', firstAt: now, postponed: [], declined: false },
    owner: { optOut: false },
    managed: false,
    noticeMs: 0,
    now,
    record: { sequence: 1, active: 'a', slots: { a: info } },
    running: 'a',
    connected: true,
    downloading: false,
    healthy: undefined,
    flushing: false,
    commitLimitMs: 60_000,
    quiet: [],
    localMinutes: 540,
    utcMinutes: 540,
    installMs: 600_000,
    ...change,
  }
}

function record(active: 'a' | 'b', b: SlotInfo): BootRecord {
  return { sequence: 2, active, slots: { a: info, b } }
}

const inB = { slot: 'b' } as const

test.each<[DeploymentState, Partial<Task>, Partial<Situation>, string]>([
  ['queued', {}, {}, 'offer'],
  ['offered', {}, {}, 'accept'],
  ['offered', {}, { owner: { optOut: true } }, 'optOut'],
  ['opted_out', {}, { owner: { optOut: true } }, 'wait'],
  ['opted_out', { accepted: true }, { owner: { optOut: true } }, 'accept'],
  ['postponed', {}, {}, 'offerAgain'],
  ['accepted', {}, {}, 'download'],
  ['accepted', {}, { connected: false }, 'wait'],
  ['downloading', {}, { downloading: true }, 'wait'],
  ['downloading', {}, {}, 'download'],
  ['failed', { attempts: 1, retryAt: now + 1 }, {}, 'wait'],
  ['failed', { attempts: 1, retryAt: now }, {}, 'download'],
  ['failed', { attempts: maxAttempts }, {}, 'giveUp'],
  ['verified', {}, {}, 'startInstall'],
  ['verified', {}, { quiet: ['01:00-02:00'] }, 'waitForWindow'],
  ['waiting_window', {}, { quiet: ['01:00-02:00'] }, 'wait'],
  ['waiting_window', { accepted: true }, { quiet: ['01:00-02:00'] }, 'startInstall'],
  ['waiting_window', {}, { quiet: ['01:00-02:00'], localMinutes: 60 }, 'startInstall'],
  ['accepted', {}, { unsafe: 'battery' }, 'wait'],
  ['failed', { attempts: 1 }, { unsafe: 'battery' }, 'wait'],
  ['verified', {}, { unsafe: 'battery' }, 'waitForWindow'],
  ['waiting_window', { accepted: true }, { unsafe: 'battery' }, 'wait'],
  ['opted_out', {}, { owner: { optOut: true }, now: now + 31 * 86_400_000 }, 'remind'],
  ['installing', inB, {}, 'install'],
  ['installed', inB, { record: record('a', fresh) }, 'activate'],
  ['installed', inB, { record: record('b', fresh) }, 'reboot'],
  ['rebooting', inB, { record: record('b', fresh), flushing: true }, 'wait'],
  ['rebooting', inB, { record: record('b', fresh), running: 'b' }, 'startTest'],
  ['rebooting', inB, { record: record('a', { ...fresh, bootable: false }) }, 'reportRolledBack'],
  ['testing', inB, { record: record('b', fresh), running: 'b' }, 'checkHealth'],
  ['testing', inB, { record: record('b', fresh), running: 'b', healthy: false }, 'rollBack'],
  ['testing', inB, { record: record('a', { ...fresh, bootable: false }) }, 'reportRolledBack'],
])('%s %j %j: %s', (state, task, change, step) => {
  expect(nextStep(situation(at(state, task), change)).do).toBe(step)
})

describe('a commit', () => {
  const tested = { record: record('b', fresh), running: 'b', healthy: true } as const
  const task = at('testing', { slot: 'b', testingSinceAt: now })

  test('ends the test, and nothing but a good self-test lets it', () => {
    const told = { ...task, commitNonce: 'c' }
    expect(nextStep(situation(told, tested))).toEqual({ do: 'commit' })
    expect(nextStep(situation(told, { ...tested, healthy: false })).do).toBe('rollBack')
    expect(nextStep(situation(told, { ...tested, healthy: undefined })).do).toBe('checkHealth')
  })

  test('that does not come in time takes the image back', () => {
    expect(nextStep(situation(task, tested))).toEqual({ do: 'wait', until: now + 60_000 })
    const late = { ...tested, now: now + 60_000 }
    expect(nextStep(situation(task, late))).toEqual({ do: 'rollBack', code: 'no-commit' })
  })

  test('is waited for without end by an image that had proven itself before', () => {
    const proven = { ...tested, record: record('b', info), now: now + 1e9 }
    expect(nextStep(situation(task, proven))).toEqual({ do: 'wait' })
  })
})

test('what has ended stays ended, and without a task there is nothing to do', () => {
  const ends = [
    'succeeded',
    'rolled_back',
    'failed_final',
    'cancelled',
    'superseded',
    'expired',
    'lost',
  ]
  for (const state of deploymentStates.filter((one) => ends.includes(one))) {
    expect(nextStep(situation(at(state)))).toEqual({ do: 'wait' })
  }
  expect(nextStep(situation(undefined))).toEqual({ do: 'wait' })
})
