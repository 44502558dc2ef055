import { expect, test } from 'vitest'

import { CloneWatch } from '../../server/mqtt/clone-watch.ts'

const second = 1_000
const [home, away, elsewhere] = ['192.0.2.1', '198.51.100.1', '203.0.113.1']

/** Takes the session to each of these addresses in turn, so many seconds apart. Gives at which ones the watch spoke up. */
function play(addresses: readonly string[], apart: number): number[] {
  const watch = new CloneWatch()
  return addresses.flatMap((to, n) => {
    const from = addresses[n - 1]
    if (from === undefined) return []
    return watch.takenOver('d', { from, to, now: n * apart * second }) ? [n] : []
  })
}

test('a device and its copy, which take the session from each other, are told at the sixth time, and again after six more', () => {
  const fight = Array.from({ length: 14 }, (_, n) => (n % 2 === 0 ? home : away))
  expect(play(fight, 5)).toEqual([6, 12])
  expect(play(fight, 25)).toEqual([6, 12])
})

test.each([
  ['a device that moves once', [home, away], 1],
  ['one that moves and comes home', [home, away, home], 60],
  ['one that roams on and on', [home, away, elsewhere, home, away, elsewhere, home, away], 5],
  ['one that connects anew from where it is', Array.from({ length: 30 }, () => home), 1],
  [
    'one whose network comes and goes all day',
    Array.from({ length: 60 }, (_, n) => (n % 2 === 0 ? home : away)),
    60,
  ],
])('%s is no copy', (_what, addresses, apart) => {
  expect(play(addresses, apart)).toEqual([])
})

test('each device is watched by itself', () => {
  const watch = new CloneWatch()
  const told = Array.from({ length: 10 }, (_, n) => {
    const [from, to] = n % 2 === 0 ? [home, away] : [away, home]
    return watch.takenOver(`d-${n % 5}`, { from, to, now: n })
  })
  expect(told.filter(Boolean)).toEqual([])
})
