import { expect, test } from 'vitest'

import { type ClockJump, SteadyClock } from '../../server/clock.ts'

const hour = 3_600_000

/** A machine whose clock somebody sets, and a database with a clock of its own. */
function make({ hasReferee = true }: { hasReferee?: boolean } = {}) {
  const machine = { wallMs: 1_000_000 * hour, monotonicMs: 5_000 }
  const database = { ms: machine.wallMs, isAway: false, asked: 0 }
  const jumps: ClockJump[] = []
  const clock = new SteadyClock({
    source: { wallMs: () => machine.wallMs, monotonicMs: () => machine.monotonicMs },
    onJump: (jump) => jumps.push(jump),
    referee: hasReferee
      ? async () => {
          database.asked++
          if (database.isAway) throw new Error('away')
          return database.ms
        }
      : undefined,
  })
  const pass = (ms: number) => {
    machine.wallMs += ms
    machine.monotonicMs += ms
    database.ms += ms
  }
  const settle = async () => await new Promise((resolve) => setImmediate(resolve))
  return { machine, database, jumps, clock, pass, settle, start: machine.wallMs }
}

test('a clock that goes its way is followed, also when it is slewed or stepped a little', async () => {
  const { machine, database, jumps, clock, pass, start } = make()
  pass(60_000)
  expect(clock.nowMs()).toBe(start + 60_000)
  machine.wallMs += 9_000
  expect(clock.nowMs()).toBe(start + 69_000)
  machine.wallMs -= 9_500
  expect(clock.nowMs()).toBe(start + 59_500)
  expect(clock.isHeld()).toBe(false)
  expect(database.asked).toBe(0)
  expect(jumps).toEqual([])
})

test.each([5 * hour, -5 * hour])(
  'a jump by %d ms that the database does not know of is not followed',
  async (by) => {
    const { machine, jumps, clock, pass, settle, start } = make()
    machine.wallMs += by
    expect(clock.nowMs()).toBe(start)
    await settle()
    expect(jumps).toEqual([{ byMs: by, what: 'ignored' }])
    pass(30_000)
    expect(clock.now().getTime()).toBe(start + 30_000)
    expect(clock.isHeld()).toBe(true)
    machine.wallMs -= by
    expect(clock.nowMs()).toBe(start + 30_000)
    expect(clock.isHeld()).toBe(false)
  },
)

test('a jump of the database as well, as after a night asleep, is followed once that is known', async () => {
  const { machine, database, jumps, clock, settle, start } = make()
  machine.wallMs += 8 * hour
  database.ms += 8 * hour
  expect(clock.nowMs()).toBe(start)
  await settle()
  expect(jumps).toEqual([{ byMs: 8 * hour, what: 'followed' }])
  expect(clock.nowMs()).toBe(start + 8 * hour)
})

test('while the database is away nothing is followed, and it is asked again, not each time', async () => {
  const { machine, database, jumps, clock, pass, settle, start } = make()
  database.isAway = true
  machine.wallMs += hour
  for (let look = 0; look < 10; look++) expect(clock.nowMs()).toBe(start)
  await settle()
  expect(database.asked).toBe(1)
  expect(jumps).toEqual([{ byMs: hour, what: 'undecided' }])
  database.isAway = false
  pass(6_000)
  expect(clock.nowMs()).toBe(start + 6_000)
  await settle()
  expect(database.asked).toBe(2)
  expect(jumps.at(-1)).toEqual({ byMs: hour, what: 'ignored' })
})

test('without another clock the machine is believed', () => {
  const { machine, jumps, clock, start } = make({ hasReferee: false })
  machine.wallMs -= 2 * hour
  expect(clock.nowMs()).toBe(start - 2 * hour)
  expect(jumps).toEqual([{ byMs: -2 * hour, what: 'followed' }])
})

test('a jump that is taken back before the answer comes changes nothing', async () => {
  const { machine, jumps, clock, settle, start } = make()
  machine.wallMs += hour
  clock.nowMs()
  machine.wallMs -= hour
  await settle()
  expect(jumps).toEqual([])
  expect(clock.nowMs()).toBe(start)
})
