import { describe, expect, test } from 'vitest'

import { verifyConstrained } from '../../../pki/tuf/profile-p.ts'
import { refusalOf } from '../../support/tuf-attack.ts'
import {
  attackOnP,
  path,
  pinsOf,
  start,
  targetOf,
  wantBuild,
} from '../../support/tuf-constrained.ts'
import { type Attempt, nonce, otherDeviceId, type World } from '../../support/tuf-fixture.ts'
import { at, type Change, makeKeys } from '../../support/tuf-repository.ts'

// The numbers are those of updates.md section 8: the verifier of a device without a JSON parser (section 4, profile P).
type Story = (world: World) => Attempt | void

const rtc = (world: World, seconds = 0) => new Date(world.now.getTime() + seconds * 1000)

test('120 valid: installs, with the same facts as the full profile', () => {
  const { world, verify } = start()
  const { targets, deploymentId, time, state } = verify()
  const full = world.verify()
  const [found] = full.targets
  expect(targets).toMatchObject([
    { path, component: 'main', length: found?.length, sha256: found?.sha256 },
  ])
  const { chunk: _, format: __, ...facts } = found?.match ?? {}
  expect(targets[0]?.match).toEqual(facts)
  expect({ deploymentId, time }).toEqual({ deploymentId: full.deploymentId, time: full.time })
  expect(state.director).toMatchObject({
    timestamp: full.state.director.timestamp,
    targets: full.state.director.targets,
  })
  expect(state.image.delegated).toEqual(full.state.image.delegated)
})

test('120 valid by a clock, without timestamp and snapshot: installs', () => {
  const { world, verify } = start()
  const bundle = world.bundle()
  const { '1.targets.json': targets = '' } = bundle.director
  const attempt = { bundle: { ...bundle, director: { '1.targets.json': targets } } }
  expect(verify({ ...attempt, now: { rtc: world.now } }).targets).toHaveLength(1)
  expect(refusalOf(() => verify({ ...attempt, now: {} }))?.code).toBe('clock')
  expect(refusalOf(() => verify(attempt))?.code).toBe('mix-and-match')
})

test('120 valid again, with only what such a device lacks: installs', () => {
  const { world, verify } = start()
  const { state } = verify()
  world.later(1)
  const director = { 'timestamp.json': world.director.file('timestamp').text }
  expect(verify({ state, bundle: { director, image: {} } }).targets).toHaveLength(1)
})

describe('121 bit flipped', () => {
  const files = ['timestamp.json', '1.snapshot.json', '1.targets.json', '1.fw-gate-2.json']
  test.each(files)('121 anywhere in the signed part of %s: refused', (name) => {
    const { world, verify } = start()
    const bundle = world.bundle()
    const side = name.includes('fw-') ? 'image' : 'director'
    const text = bundle[side][name] ?? ''
    const first = text.indexOf(',"signed":') + 10
    for (let place = first; place < text.length - 1; place += 7) {
      const bytes = Buffer.from(text)
      bytes.writeUInt8((bytes[place] ?? 0) ^ 1, place)
      const flipped = { ...bundle, [side]: { ...bundle[side], [name]: bytes.toString() } }
      expect(refusalOf(() => verify({ bundle: flipped }))?.code).toMatch(
        /^(arbitrary|mix-and-match)$/,
      )
    }
    expect(verify({ bundle }).targets).toHaveLength(1)
  })
})

const roles: [string, Story][] = [
  ['director targets', (world) => world.publishWanted({ keys: makeKeys(1) })],
  ['director snapshot', (world) => world.publishDirectorSnapshot({ keys: makeKeys(1) })],
  ['director timestamp', (world) => world.answer({ keys: makeKeys(1) })],
  ['release', (world) => world.publishFirmware({ keys: makeKeys(2) })],
  [
    'release, of the third key in place of a pinned one',
    (world) => world.publishFirmware({ keys: world.release.slice(1, 3) }),
  ],
]
for (const [name, evil] of roles) {
  attackOnP(`122 other key: ${name}`, 'arbitrary', {
    evil,
    twin: (world) => world.publishFirmware(),
  })
}

attackOnP('123 other device', 'wrong-device', {
  evil: (world) => world.publishWanted({ change: at(['x-device'], otherDeviceId) }),
})
attackOnP('123 other device in the target', 'wrong-device', {
  evil: (world) =>
    world.publishWanted({ change: at(targetOf('custom', 'deviceId'), otherDeviceId) }),
})

const expires = (when: string) => at(['expires'], when)
const expiring: [string, (world: World, change: Change) => void][] = [
  ['director targets', (world, change) => world.publishWanted({ change })],
  ['director snapshot', (world, change) => world.publishDirectorSnapshot({ change })],
  ['director timestamp', (world, change) => world.answer({ change })],
  ['release', (world, change) => world.publishFirmware({ change })],
]
for (const [name, publish] of expiring) {
  attackOnP(`124 expired: ${name}`, 'freeze', {
    evil: (world) => publish(world, expires('2026-11-23T09:00:00Z')),
    twin: (world) => publish(world, expires('2026-11-23T09:00:01Z')),
  })
}
attackOnP('124 expired by the clock', 'freeze', {
  evil: (world) => ({ now: { rtc: rtc(world, 8 * 86_400) } }),
  twin: (world) => ({ now: { rtc: rtc(world, 6 * 86_400) } }),
})
attackOnP('124 answer to another question', 'freeze', {
  evil: (world) => world.answer({ question: 'ab'.repeat(16) }),
})

/** What a device holds that took what is published. */
function held(world: World): NonNullable<Attempt['state']> {
  const components = { main: { build: 400, svn: 41 } }
  const device = { ...world.device, components, pins: pinsOf(world) }
  const { state } = verifyConstrained(world.factoryState(), world.bundle(), device, { nonce })
  world.later(1)
  return state
}

const newer: ['director' | 'image', string, (world: World) => void][] = [
  ['director', 'targets', (world) => world.publishWanted()],
  ['image', 'fw-gate-2', (world) => world.publishFirmware()],
]
for (const [side, role, publish] of newer) {
  attackOnP(`125 lower version: ${side} ${role}`, 'rollback', {
    evil: (world) => {
      const old = world[side].file(role)
      publish(world)
      const state = held(world)
      world[side].files.set(role, old)
      if (side === 'director') world.publishDirectorSnapshot()
      return { state }
    },
    twin: (world) => {
      publish(world)
      return { state: held(world) }
    },
  })
}
attackOnP('125 lower version: director timestamp', 'rollback', {
  evil: (world) => {
    const state = held(world)
    world.answer({ change: at(['version'], world.now.getTime() / 1000 - 60) })
    return { state }
  },
  twin: (world) => ({ state: held(world) }),
})

attackOnP('126 lower counter', 'rollback', {
  evil: (world) => ({ state: { ...world.factoryState(), svn: { main: 42 } } }),
  twin: (world) => ({ state: { ...world.factoryState(), svn: { main: 41 } } }),
})

attackOnP('126 lower counter than that of a component called svn', 'rollback', {
  evil: (world) => {
    wantBuild(world, { svn: 40, match: { requires: { svn: 41 } } })
    return { device: { components: { main: { build: 400, svn: 41 }, svn: { build: 41, svn: 0 } } } }
  },
  twin: (world) => {
    wantBuild(world, { svn: 41, match: { requires: { svn: 1 } } })
    return { device: { components: { main: { build: 400, svn: 41 }, svn: { build: 41, svn: 0 } } } }
  },
})
attackOnP('126 mandatory intermediate skipped', 'dependency', {
  evil: (world) => wantBuild(world, { match: { minPrev: 401 } }),
  twin: (world) => wantBuild(world, { match: { minPrev: 400 } }),
})
attackOnP('126 what it requires is not there', 'partial-bundle', {
  evil: (world) => wantBuild(world, { match: { requires: { radio: 1 } } }),
  twin: (world) => {
    wantBuild(world, { match: { requires: { radio: 1 } } })
    return {
      device: { components: { main: { build: 400, svn: 41 }, radio: { build: 1, svn: 0 } } },
    }
  },
})

attackOnP('127 other hardware', 'wrong-hardware', {
  evil: (world) => wantBuild(world, { match: { hardwareIds: ['gate-2-r4', 'gate-2-r33'] } }),
  twin: (world) => wantBuild(world, { match: { hardwareIds: ['gate-2-r3'] } }),
})
