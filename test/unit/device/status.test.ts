import { expect, test } from 'vitest'

import { describe as inWords } from '../../../device-sim/commands/status.ts'
import type { DeviceStatus } from '../../../device-sim/status.ts'
import { deploymentStates } from '../../../server/protocol/deployment.ts'

type Task = NonNullable<DeviceStatus['task']>

function said(facts: Pick<Task, 'state'> & Partial<Task>): string {
  const task: Task = {
    deploymentId: '0192f3c9-10aa-7b41-8f00-5d2c9be1a0f3',
    version: '2.4.1',
    build: 412,
    component: 'main',
    policy: {
      class: 'security',
      auto: true,
      consent: 'none',
      optOut: 'honored',
      urgency: 'normal',
      window: [],
    },
    fixes: [],
    postponements: 0,
    ownerMayChoose: false,
    ...facts,
  }
  const base = {
    deviceId: 'd',
    connected: true,
    bootId: 'b',
    installed: [],
    optOut: false,
    quiet: { spans: [] },
  }
  return inWords({ ...base, waiting: 0, task }, true).join('\n')
}

test('an update that was refused is not said to be offered; what happened and why is said', () => {
  const text = said({ state: 'failed_final', code: 'wrong-hardware', detail: 'No such id' })
  expect(text).toContain('Not installed: main 2.4.1')
  expect(text).toContain('refused it: it is for other hardware (wrong-hardware: No such id)')
  expect(text).not.toContain('Offered')
})

test('one that failed is not said to be refused', () => {
  expect(said({ state: 'failed_final', code: 'http-403' })).toContain('failed for good (http-403).')
  expect(said({ state: 'failed_final' })).toContain('it failed for good. What ran before')
  for (const code of ['constructor', '__proto__']) {
    expect(said({ state: 'failed_final', code })).not.toContain('refused')
  }
})

test('only what may still be installed is offered', () => {
  const offered = deploymentStates.filter((state) => said({ state }).includes('Offered: main'))
  const ended = ['succeeded', 'rolled_back', 'failed_final', 'cancelled', 'superseded', 'expired']
  expect(offered).toEqual(deploymentStates.filter((state) => ![...ended, 'lost'].includes(state)))
  expect(said({ state: 'succeeded' })).toContain('Installed: main 2.4.1')
})
