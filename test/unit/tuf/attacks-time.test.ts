import { expect, test } from 'vitest'

import { VerificationError } from '../../../pki/tuf/errors.ts'
import { attack, refusalOf } from '../../support/tuf-attack.ts'
import { nonce, World } from '../../support/tuf-fixture.ts'
import { at, makeKeys } from '../../support/tuf-repository.ts'

// The numbers are those of updates.md section 8.
const day = 86_400_000
const rtc = (world: World, days: number) => new Date(world.now.getTime() + days * day)

attack('17 expired director timestamp by the clock', 'freeze', {
  evil: (world) => ({ now: { rtc: rtc(world, 1) } }),
  twin: (world) => ({ now: { rtc: rtc(world, 0.99) } }),
})

attack('18 replayed answer, other nonce', 'freeze', {
  evil: () => ({ now: { nonce: '00'.repeat(16) } }),
  twin: () => ({ now: { nonce } }),
})

attack('18 an answer that names no nonce', 'freeze', {
  evil: (world) => world.answer({ change: at(['x-nonce'], undefined) }),
})

attack('18 no answer at all, though this device asked', 'freeze', {
  evil: (world) => {
    const state = world.updatedState()
    return { state, bundle: { director: {}, image: {} } }
  },
  // A device with a clock that did not ask may go on with what it holds.
  twin: (world) => {
    const state = world.updatedState()
    return { state, bundle: { director: {}, image: {} }, now: { rtc: world.now } }
  },
})

attack('19 expired image timestamp', 'freeze', {
  evil: (world) => world.publishTimestamp({ change: at(['expires'], '2026-11-23T08:59:59Z') }),
  twin: (world) => world.publishTimestamp({ change: at(['expires'], '2026-11-23T09:00:01Z') }),
})

attack('20 clock at 1970 with a later stored time', 'freeze', {
  evil: (world) => {
    const state = { ...world.factoryState(), timeAt: '2026-11-25T00:00:00Z' }
    return { state, now: { rtc: new Date(0) } }
  },
  twin: (world) => {
    const state = { ...world.factoryState(), timeAt: '2026-11-23T12:00:00Z' }
    return { state, now: { rtc: new Date(0) } }
  },
})

attack('20 clock at 1970, firmware built after the files expired', 'freeze', {
  evil: () => ({
    device: { firmwareBuildTime: '2026-12-01T00:00:00Z' },
    now: { rtc: new Date(0) },
  }),
})

attack('21 no time at all', 'clock', {
  evil: () => ({ now: {} }),
  twin: (world) => ({ now: { rtc: world.now } }),
})

test.each([new Date(Number.NaN), new Date('+012026-01-01T00:00:00Z'), new Date(-1)])(
  '21 a clock that makes no sense (%s): clock',
  (broken) => {
    expect(refusalOf(() => World.honest().verify({ now: { rtc: broken } }))?.code).toBe('clock')
  },
)

attack('21 an answer that does not say the time', 'clock', {
  evil: (world) => world.answer({ change: at(['x-time'], undefined) }),
})

test('22 clock far ahead, nonce time right: installs, and the time kept is the right one', () => {
  const world = World.honest()
  const { state, time } = world.verify({ now: { rtc: rtc(world, 10_000), nonce } })
  expect(time).toBe('2026-11-23T09:00:00Z')
  expect(state.timeAt).toBe(time)
})

test('22 stored time never falls', () => {
  const world = World.honest()
  const state = { ...world.factoryState(), timeAt: '2026-11-23T20:00:00Z' }
  expect(world.verify({ state }).state.timeAt).toBe('2026-11-23T20:00:00Z')
})

for (const [file, publish] of [
  [
    '47 director targets',
    (world: World, change: ReturnType<typeof at>) => world.publishWanted({ change }),
  ],
  [
    '47 director snapshot',
    (world: World, change: ReturnType<typeof at>) => world.publishDirectorSnapshot({ change }),
  ],
  [
    '47 image targets',
    (world: World, change: ReturnType<typeof at>) => world.publishDelegations({ change }),
  ],
  [
    '47 image snapshot',
    (world: World, change: ReturnType<typeof at>) => world.publishSnapshot({ change }),
  ],
  [
    '48 delegated role',
    (world: World, change: ReturnType<typeof at>) => world.publishFirmware({ change }),
  ],
] as const) {
  attack(`${file} expired`, 'freeze', {
    evil: (world) => publish(world, at(['expires'], '2026-11-23T09:00:00Z')),
    twin: (world) => publish(world, at(['expires'], '2026-11-23T09:00:01Z')),
  })
}

test('55 time key jumps ten years: nothing is installed and the time is not kept', () => {
  const world = World.honest()
  const change = (signed: object) =>
    void Object.assign(signed, {
      expires: '2036-11-24T09:00:00Z',
      'x-time': '2036-11-23T09:00:00Z',
    })
  world.answer({ change })
  const refused = refusalOf(() => world.verify())
  expect(refused?.code).toBe('freeze')
  expect(refused?.state?.timeAt).toBeUndefined()
})

test('55 all three director keys jump ten years: rotation recovers', () => {
  const world = World.honest()
  const expires = at(['expires'], '2036-11-24T09:00:00Z')
  world.publishWanted({ change: expires })
  world.publishDirectorSnapshot({ change: expires })
  world.answer({
    change: (signed) => {
      expires(signed)
      at(['x-time'], '2036-11-23T09:00:00Z')(signed)
    },
  })
  // The director's root is old by then, so honest roots stop it; with an emptied target list, too.
  const refused = refusalOf(() => world.verify())
  expect(refused?.code).toBe('freeze')
  const stuck = { ...world.factoryState(), timeAt: '2036-11-23T09:00:00Z' }
  world.publishWanted()
  expect(refusalOf(() => world.verify({ state: stuck }))?.code).toBe('freeze')
  // A new root without the stolen timestamp key: time falls back to the firmware's, then to the answer's.
  world.director.publishRoot()
  expect(refusalOf(() => world.verify({ state: stuck }))?.code).toBe('freeze')
  world.director.keys.timestamp = makeKeys(1)
  world.director.publishRoot()
  world.answer()
  const { state } = world.verify({ state: stuck })
  expect(state.timeAt).toBe('2026-11-23T09:00:00Z')
})

test('56 two answers in one second: the second is as good as the first', () => {
  const world = World.honest()
  const first = world.verify()
  const question = 'ab'.repeat(16)
  const kept = world.director.file('timestamp').text
  world.answer({ question })
  const second = world.verify({ state: first.state, now: { nonce: question } })
  expect(second.targets).toHaveLength(1)
  // TUF discards an equal version: the stored file stays.
  expect(second.state.director.timestamp).toBe(kept)
})

test('57 answering process 60 s behind the other: refused by its clock, accepted by version held + 1', () => {
  const world = World.honest()
  const state = world.updatedState()
  const held = JSON.parse(state.director.timestamp ?? '').signed.version
  world.now = new Date(world.now.getTime() - 60_000)
  world.answer()
  expect(refusalOf(() => world.verify({ state }))?.code).toBe('rollback')
  world.answer({ change: at(['version'], held + 1) })
  const { time, targets } = world.verify({ state })
  expect(targets).toHaveLength(1)
  // The later of both: what the first process said is not forgotten.
  expect(time).toBe('2026-11-23T09:00:00Z')
})

test('59 equal director timestamp version with other content: not adopted', () => {
  const world = World.honest()
  const { state } = world.verify()
  world.wanted = {}
  world.publishWanted()
  const again = world.verify({ state })
  expect(again.targets).toHaveLength(1)
  expect(again.state.director).toEqual(state.director)
})

test('59 equal image timestamp version with other content: not adopted', () => {
  const world = World.honest()
  const { state } = world.verify()
  const { version } = world.image.file('timestamp')
  world.publishFirmware()
  world.publishTimestamp({ change: at(['version'], version) })
  expect(world.verify({ state }).state.image).toEqual(state.image)
})

test('a failure keeps what had been verified, and says so in its state', () => {
  const world = World.honest()
  world.publishTimestamp({ change: at(['expires'], '2026-11-23T08:59:59Z') })
  const refused = refusalOf(() => world.verify())
  expect(refused).toBeInstanceOf(VerificationError)
  expect(refused?.state?.director.targets).toBe(world.director.file('targets').text)
  expect(refused?.state?.image).toEqual(world.factoryState().image)
})
