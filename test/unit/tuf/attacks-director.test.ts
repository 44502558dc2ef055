import { expect, test } from 'vitest'

import { attack, refusalOf } from '../../support/tuf-attack.ts'
import { deviceId, nonce, otherDeviceId, policy, World } from '../../support/tuf-fixture.ts'
import { at, makeKeys, sha256 } from '../../support/tuf-repository.ts'

// The numbers are those of updates.md section 8.
const path = 'fw/gate-2/2.4.1/main.bin'
const targetOf = (...rest: (string | number)[]) => ['targets', path, ...rest]

test('1 happy path: installs', () => {
  const { targets, time, deploymentId, policy: signed, state } = World.honest().verify()
  expect(targets).toMatchObject([
    { path, component: 'main', length: 10, sha256: sha256('main 2.4.1'), match: { build: 412 } },
  ])
  expect(time).toBe('2026-11-23T09:00:00Z')
  expect(deploymentId).toBe('0192f3c9-10aa-7b41-8f00-5d2c9be1a0f3')
  expect(signed).toEqual(policy)
  expect(state.timeAt).toBe(time)
  // What is kept is plain JSON, and enough to go on from.
  expect(JSON.parse(JSON.stringify(state))).toEqual(state)
})

test('1 happy path, again with only the files a device lacks: installs', () => {
  const world = World.honest()
  const state = world.updatedState()
  const bundle = {
    director: { 'timestamp.json': world.director.file('timestamp').text },
    image: {},
  }
  expect(world.verify({ state, bundle }).targets).toHaveLength(1)
})

attack('2 path absent from the image repository', 'arbitrary', {
  evil: (world) => {
    const ghost = world.addBuild({ version: '9.9.9', build: 999 })
    world.wanted = {}
    world.want(ghost)
    world.publishWanted()
  },
})

attack('3 director keys stolen: right path, evil hash', 'mix-and-match', {
  evil: (world) => {
    world.publishWanted({ change: at(targetOf('hashes'), { sha256: sha256('evil') }) })
  },
})

attack('4 director keys stolen: old signed image', 'rollback', {
  evil: (world) => {
    const old = world.addBuild({ version: '2.3.0', build: 390, svn: 40 })
    world.publishFirmware()
    world.wanted = {}
    world.want(old)
    world.publishWanted()
  },
  // Older by build, not by security version: that may be gone back to.
  twin: (world) => {
    const old = world.addBuild({ version: '2.3.0', build: 390, svn: 41 })
    world.publishFirmware()
    world.wanted = {}
    world.want(old)
    world.publishWanted()
  },
})

test('4 the stored counter decides, above and below that of the running image', () => {
  const world = World.honest()
  const state = { ...world.factoryState(), svn: { main: 42 } }
  expect(refusalOf(() => world.verify({ state }))?.code).toBe('rollback')
  const testing = { main: { build: 500, svn: 50 }, radio: { build: 205, svn: 0 } }
  const uncommitted = { ...world.factoryState(), svn: { main: 41 } }
  const { targets } = world.verify({ state: uncommitted, device: { components: testing } })
  expect(targets).toHaveLength(1)
})

attack('5 director keys stolen: old image, forged counter', 'mix-and-match', {
  evil: (world) => {
    const old = world.addBuild({ version: '2.3.0', build: 390, svn: 40 })
    world.publishFirmware()
    world.wanted = {}
    world.want(old)
    const forged = at(['targets', old, 'custom', 'match', 'svn'], 41)
    world.publishWanted({ change: forged })
  },
})

attack("6 director keys stolen: other hardware's image", 'wrong-hardware', {
  evil: (world) => {
    const other = world.addBuild({ version: '2.4.1-r4', match: { hardwareIds: ['gate-2-r4'] } })
    world.publishFirmware()
    world.wanted = {}
    world.want(other)
    world.publishWanted()
  },
  twin: (world) => {
    const other = world.addBuild({
      version: '2.4.1-r4',
      match: { hardwareIds: ['gate-2-r4', 'gate-2-r3'] },
    })
    world.publishFirmware()
    world.wanted = {}
    world.want(other)
    world.publishWanted()
  },
})

attack('10 bundle of another device', 'wrong-device', {
  evil: (world) => world.publishWanted({ change: at(['x-device'], otherDeviceId) }),
})

test('10 nothing of a bundle for another device is kept', () => {
  const world = World.honest()
  const state = world.updatedState()
  world.publishWanted({ change: at(['x-device'], otherDeviceId) })
  world.later(100)
  expect(refusalOf(() => world.verify({ state }))?.state).toEqual(state)
})

attack('11 deviceId of another device', 'wrong-device', {
  evil: (world) => {
    world.publishWanted({ change: at(targetOf('custom', 'deviceId'), otherDeviceId) })
  },
  twin: (world) => world.publishWanted({ change: at(targetOf('custom', 'deviceId'), deviceId) }),
})

attack('12 director with delegations', 'arbitrary', {
  evil: (world) => world.publishWanted({ change: at(['delegations'], { keys: {}, roles: [] }) }),
})

attack('13 older director timestamp', 'rollback', {
  evil: (world) => {
    const state = world.updatedState()
    world.answer({ change: at(['version'], world.now.getTime() / 1000 - 60) })
    return { state }
  },
  twin: (world) => ({ state: world.updatedState() }),
})

attack('13 director timestamp that names an older snapshot', 'rollback', {
  evil: (world) => {
    const old = world.director.file('snapshot')
    world.publishWanted()
    const state = world.updatedState()
    world.director.files.set('snapshot', old)
    world.later(1)
    return { state }
  },
  twin: (world) => {
    world.publishWanted()
    const state = world.updatedState()
    world.later(1)
    return { state }
  },
})

attack('29 revoked director targets key', 'arbitrary', {
  evil: (world) => {
    const stolen = world.director.keys.targets.slice(0, 1)
    world.director.keys.targets = makeKeys(1)
    world.director.publishRoot()
    world.publishWanted({ keys: stolen })
  },
  twin: (world) => {
    world.director.keys.targets = makeKeys(1)
    world.director.publishRoot()
    world.publishWanted()
  },
})

test('29 a held file of a revoked director targets key counts no more', () => {
  const world = World.honest()
  const state = world.updatedState()
  world.director.keys.targets = makeKeys(1)
  world.director.publishRoot()
  expect(refusalOf(() => world.verify({ state }))?.code).toBe('arbitrary')
})

attack('33 director lies about length', 'mix-and-match', {
  evil: (world) => world.publishWanted({ change: at(targetOf('length'), 10_000_000_000) }),
})

attack('34 requires missing', 'partial-bundle', {
  evil: (world) => {
    world.wanted = {}
    world.want(world.addBuild({ match: { requires: { radio: 206 } } }))
    world.publishFirmware()
    world.publishWanted()
  },
  twin: (world) => {
    world.wanted = {}
    world.want(world.addBuild({ match: { requires: { radio: 205 } } }))
    world.publishFirmware()
    world.publishWanted()
  },
})

test('35 requires satisfied in the bundle: installs both', () => {
  const world = World.honest()
  world.want(world.addBuild({ match: { requires: { radio: 206 } } }))
  world.want(world.addBuild({ component: 'radio', build: 206, svn: 0 }))
  world.publishFirmware()
  world.publishWanted()
  expect(world.verify().targets.map(({ component }) => component)).toEqual(['main', 'radio'])
})

test('35 requires undone by the bundle itself: partial-bundle', () => {
  const world = World.honest()
  world.want(world.addBuild({ match: { requires: { radio: 205 } } }))
  world.want(world.addBuild({ component: 'radio', build: 204, svn: 0 }))
  world.publishFirmware()
  world.publishWanted()
  expect(refusalOf(() => world.verify())?.code).toBe('partial-bundle')
})

attack('36 component the device lacks', 'wrong-device', {
  evil: (world) => {
    world.want(world.addBuild({ component: 'constructor' }))
    world.publishFirmware()
    world.publishWanted()
  },
  twin: (world) => {
    world.want(world.addBuild({ component: 'radio' }))
    world.publishFirmware()
    world.publishWanted()
  },
})

attack('36 image of one component named as another', 'mix-and-match', {
  evil: (world) => {
    const radio = world.addBuild({ component: 'radio', build: 206, svn: 41 })
    world.publishFirmware()
    world.wanted = {}
    world.want(radio, { component: 'main' })
    world.publishWanted()
  },
})

attack('37 mandatory intermediate skipped', 'dependency', {
  evil: (world) => {
    world.want(world.addBuild({ match: { minPrev: 401 } }))
    world.publishFirmware()
    world.publishWanted()
  },
  twin: (world) => {
    world.want(world.addBuild({ match: { minPrev: 400 } }))
    world.publishFirmware()
    world.publishWanted()
  },
})

test('40 crash after the director timestamp was stored, retry: installs', () => {
  const world = World.honest()
  const bundle = world.bundle()
  const { [`1.fw-gate-2.json`]: firmware = '', ...image } = bundle.image
  const cut = refusalOf(() => world.verify({ bundle: { ...bundle, image } }))
  expect(cut?.code).toBe('mix-and-match')
  const { director, image: kept } = cut?.state ?? world.factoryState()
  expect(director.timestamp).toBe(world.director.file('timestamp').text)
  expect(kept.snapshot).toBe(world.image.file('snapshot').text)
  expect(kept.delegated).toEqual({})
  const state = cut?.state ?? world.factoryState()
  expect(world.verify({ state, bundle }).targets).toHaveLength(1)
  // Only what was missing is enough, too.
  const rest = {
    director: { 'timestamp.json': world.director.file('timestamp').text },
    image: { '1.fw-gate-2.json': firmware },
  }
  expect(world.verify({ state, bundle: rest }).targets).toHaveLength(1)
})

test('41 empty targets for me: nothing to do', () => {
  const world = World.honest()
  world.wanted = {}
  world.publishWanted()
  expect(world.verify()).toMatchObject({ targets: [], time: '2026-11-23T09:00:00Z' })
})

test('42 empty targets for another device: wrong-device; for this one: nothing to do', () => {
  const world = World.honest()
  world.wanted = {}
  world.publishWanted()
  expect(world.verify().targets).toEqual([])
  world.publishWanted({ change: at(['x-device'], otherDeviceId) })
  expect(refusalOf(() => world.verify())?.code).toBe('wrong-device')
})

test('42 targets that name no device: refused', () => {
  const world = World.honest()
  world.publishWanted({ change: at(['x-device'], undefined) })
  expect(refusalOf(() => world.verify({ now: { nonce } }))?.code).toBe('arbitrary')
})

attack('45 component twice', 'arbitrary', {
  evil: (world) => {
    world.want(world.addBuild({ version: '2.4.2', build: 413 }))
    world.publishFirmware()
    world.publishWanted()
  },
})
