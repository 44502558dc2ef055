import { readFileSync } from 'node:fs'

import { describe, expect, test } from 'vitest'

import { statesDocument, statesFile } from '../../../scripts/update-states.ts'
import {
  type DeploymentState,
  deploymentStates,
  endedStates,
  mayMove,
  type Mover,
  openStates,
  stoppableStates,
} from '../../../server/protocol/deployment.ts'

/** updates.md §7.1, written down a second time: `from: to by, …`. */
const table = `
queued: offered device, failed_final device
offered: postponed owner, accepted owner device operator, opted_out owner, failed_final device
postponed: offered device, postponed owner, accepted owner device operator, opted_out owner, failed_final device
opted_out: accepted owner operator, offered owner
accepted: downloading device, failed_final device engine, lost engine
downloading: downloading device, verified device, failed device, failed_final device engine, lost engine
verified: waiting_window device, installing device, failed device, failed_final device engine, lost engine
waiting_window: installing device, failed_final device engine, lost engine
installing: installed device, failed device, failed_final device engine, lost engine
installed: rebooting device, failed_final device engine, lost engine
rebooting: testing device, rolled_back device, failed_final device engine, lost engine
testing: succeeded device, rolled_back device, failed_final device engine, lost engine
failed: downloading device, failed_final device engine, lost engine
lost: accepted device, downloading device, verified device, waiting_window device, installing device
lost: installed device, rebooting device, testing device, succeeded device, rolled_back device, failed device
lost: failed_final device
cancelled: installing engine
succeeded: rolled_back engine
`
/** Until anything is written to a slot. */
const stoppable =
  'queued offered postponed opted_out accepted downloading verified waiting_window failed'
const ends = ['succeeded', 'rolled_back', 'failed_final', 'cancelled', 'superseded', 'expired']
const movers = ['device', 'owner', 'engine', 'operator'] as const satisfies readonly Mover[]

const legal = new Set([
  ...table
    .trim()
    .split('\n')
    .flatMap((line) => {
      const [from = '', moves = ''] = line.split(': ')
      return moves.split(', ').flatMap((move) => {
        const [to, ...by] = move.split(' ')
        return by.map((mover) => `${from} ${to} ${mover}`)
      })
    }),
  ...stoppable
    .split(' ')
    .flatMap((from) => [
      `${from} cancelled operator`,
      `${from} cancelled engine`,
      `${from} superseded engine`,
      `${from} expired engine`,
    ]),
])

const every = deploymentStates.flatMap((from) => {
  return deploymentStates.flatMap((to) => movers.map((by) => [from, to, by] as const))
})

describe('the table of moves', () => {
  test('every legal move is open to the one named, and only these', () => {
    const open = every.filter((move) => mayMove(...move)).map((move) => move.join(' '))
    expect(open.toSorted()).toEqual([...legal].toSorted())
    expect(open.length).toBeGreaterThan(80)
  })

  test.each(deploymentStates)('from %s: each illegal move is refused to each mover', (from) => {
    const illegal = every.filter((move) => move[0] === from && !legal.has(move.join(' ')))
    expect(illegal.length).toBeGreaterThan(60)
    for (const move of illegal) expect(mayMove(...move), move.join(' ')).toBe(false)
  })

  test('what has ended stays ended, but for what the device cannot take back; from installing on nothing is taken back', () => {
    expect(endedStates).toEqual([...ends, 'lost'])
    expect([...openStates, ...endedStates].toSorted()).toEqual([...deploymentStates].toSorted())
    expect(stoppableStates.toSorted()).toEqual(stoppable.split(' ').toSorted() as DeploymentState[])
  })

  test('an operator moves nothing but a stop and an override, an owner only choices', () => {
    const to = (mover: Mover) => {
      return [
        ...new Set(
          every.filter((move) => mayMove(...move) && move[2] === mover).map(([, to]) => to),
        ),
      ]
    }
    expect(to('operator').toSorted()).toEqual(['accepted', 'cancelled'])
    expect(to('owner').toSorted()).toEqual(['accepted', 'offered', 'opted_out', 'postponed'])
  })
})

test('docs/device-update-states.md is made from the table of today', () => {
  expect(readFileSync(statesFile, 'utf8'), 'run: node scripts/update-states.ts').toBe(
    statesDocument(),
  )
})
