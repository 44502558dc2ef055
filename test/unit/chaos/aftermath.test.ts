import { expect, test } from 'vitest'

import { endedOverSomebody, leftOpen, wrongPresence } from '../../../chaos/aftermath.ts'
import { badWords } from '../../../chaos/judge.ts'
import { connectionsIn, holdingOf, type Holding, kindOf } from '../../../chaos/processes.ts'

/* What is judged when the devices of a fault run have gone sees what it is there for, and nothing where all is well. */

function answering(rows: unknown[]) {
  const asked: unknown[] = []
  const query = async (_text: string, values?: unknown[]) => {
    asked.push(...(values ?? []))
    return { rows }
  }
  return { asked, database: { query } as unknown as Parameters<typeof wrongPresence>[0] }
}

test('who is there and not shown, who is shown and not there, and who is shown with a dead process', async () => {
  const well = [
    { id: 'here', is_shown: true, lives: true },
    { id: 'gone', is_shown: false, lives: false },
  ]
  expect(await wrongPresence(answering(well).database, ['here'])).toEqual([])
  const ill = [
    { id: 'unseen', is_shown: false, lives: true },
    { id: 'late', is_shown: true, lives: false },
    { id: 'ghost', is_shown: true, lives: true },
  ]
  expect(await wrongPresence(answering(ill).database, ['unseen', 'late', 'nobody'])).toEqual([
    'unseen is connected and shown as offline',
    'late is shown as connected with a process that is dead',
    'ghost has no connection and is shown as connected',
    'nobody is connected, and there is no such device',
  ])
})

test('a rollout that ended over a device is found; one whose owner waits is none', async () => {
  const { asked, database } = answering([{ id: 'r', device: 'd', was: 'queued', at: 'completed' }])
  expect(await endedOverSomebody(database)).toEqual([
    'rollout r is completed, and d is still queued',
  ])
  expect(asked).toEqual([expect.arrayContaining(['queued', 'offered', 'downloading', 'testing'])])
  for (const state of ['opted_out', 'postponed', 'succeeded', 'failed_final'])
    expect(asked).not.toEqual([expect.arrayContaining([state])])
  expect(await endedOverSomebody(answering([]).database)).toEqual([])
})

const held: Holding = {
  device: 0,
  database: 8,
  socket: 10,
  pipe: 6,
  file: 20,
  other: 15,
  residentMb: 200,
}

test('a connection of a device that nobody has, and what grows with connections, is a leak', () => {
  expect(leftOpen('it', held, { ...held, database: 30, socket: 14, residentMb: 400 }, 1)).toEqual(
    [],
  )
  expect(leftOpen('it', held, { ...held, device: 1 }, 3)).toEqual([
    'it held 0 device descriptors, and holds 1',
  ])
  const more = { database: 41, socket: 23, pipe: 15, file: 33, other: 28, residentMb: 641 }
  expect(leftOpen('it', held, { ...held, ...more }, 1)).toEqual([
    'it held 10 socket descriptors, and holds 23',
    'it held 6 pipe descriptors, and holds 15',
    'it held 20 file descriptors, and holds 33',
    'it held 15 other descriptors, and holds 28',
    'it holds 41 connections to the database',
    'a process of it takes 641 MB',
  ])
})

test('connections are told apart by their ports, and what listens is nobody’s', () => {
  const line = (local: string, remote: string, state: string, inode: string) =>
    `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0`
  const table = [
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
    line('0100007F:22B8', '00000000:0000', '0A', '11'),
    line('0100007F:22B8', '0100007F:C001', '01', '12'),
    line('0100007F:22B8', '0100007F:C002', '08', '13'),
    line('0100007F:C003', '0100007F:1538', '01', '14'),
    line('0100007F:C004', '0100007F:0050', '01', '15'),
  ].join('\n')
  const known = connectionsIn(table, { device: [8_888], database: 5_432 })
  expect([...known]).toEqual([
    ['12', 'device'],
    ['13', 'device'],
    ['14', 'database'],
  ])
  const kinds = ['socket:[12]', 'socket:[14]', 'socket:[15]', 'pipe:[1]', '/a', 'anon_inode:[x]']
  expect(kinds.map((target) => kindOf(target, known))).toEqual([
    'device',
    'database',
    'socket',
    'pipe',
    'file',
    'other',
  ])
})

test.runIf(process.platform === 'linux')('what this process holds can be read', () => {
  const own = holdingOf(process.pid, { device: [], database: 0 })
  expect(own.other).toBeGreaterThan(0)
  expect(own.residentMb).toBeGreaterThan(10)
})

test.each([
  '(node:7) MaxListenersExceededWarning: Possible EventTarget memory leak detected.',
  '(node:7) UnhandledPromiseRejectionWarning: no',
  'Node.js v24.21.0',
  '{"level":70,"msg":"worse than fatal"}',
])('the words of a program that broke: %s', (line) => {
  expect(badWords(`fleetseal ready\n${line}\n{"level":50,"node":"Node.js v24"}`)).toHaveLength(1)
})
