import { expect, test } from 'vitest'

import { WaitingRoom } from '../../../server/rollouts/waiting-room.ts'

test('devices leave in the order of their buckets, once, whenever they came', () => {
  const room = new WaitingRoom()
  for (const bucket of [0.5, 0.1, 0.9]) room.add('a', `d${bucket}`, bucket)
  room.add('a', 'd0.5', 0.5)
  expect(room.take('a', 1)).toEqual(['d0.1'])
  room.add('a', 'd0.3', 0.3)
  expect(room.size).toBe(3)
  expect(room.take('a', 2)).toEqual(['d0.3', 'd0.5'])
  expect(room.take('a', 0)).toEqual([])
  expect(room.take('a', Infinity)).toEqual(['d0.9'])
  expect(room.take('a', 5)).toEqual([])
  expect(room.size).toBe(0)
})

test('a rollout is looked at when its time has come, or when the clock was set back', () => {
  const room = new WaitingRoom()
  room.add('a', 'd', 0)
  room.add('b', 'd', 0)
  room.postpone('a', 1_000)
  expect(room.due(0, 60_000)).toEqual(['b'])
  expect(room.due(1_000, 60_000)).toEqual(['a', 'b'])
  expect(room.due(-70_000, 60_000)).toEqual(['a', 'b'])
})

test('who waits for a rollout that ended is let go; there is an end to how many wait', () => {
  const room = new WaitingRoom()
  for (let n = 0; n < 100_010; n++) room.add('a', `d${n}`, 0)
  expect(room.size).toBe(100_000)
  room.add('b', 'd', 0)
  expect(room.take('b', 1)).toEqual([])
  room.keepOnly(new Set(['b']))
  expect(room.size).toBe(0)
})
