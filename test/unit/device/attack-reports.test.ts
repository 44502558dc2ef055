import { afterEach, describe, expect, test } from 'vitest'

import { encodeBundle } from '../../../pki/tuf/bundle.ts'
import { DeviceLife, firmware, offering } from '../../support/device-life.ts'
import { otherDeviceId, type World } from '../../support/tuf-fixture.ts'
import { at, type Change, makeKeys, sha256 } from '../../support/tuf-repository.ts'

/*
 * What attacks of updates.md section 8 look like at the server: the agent says the code, about the deployment when the
 * director's own files hold, else as a security event. The honest twin of each is the same device, which then installs.
 */
const path = 'fw/gate-2/2.4.1/main.bin'
const targetOf = (...rest: (string | number)[]) => ['targets', path, ...rest]

let life: DeviceLife
afterEach(async () => await life.powerDown())

type Story = (world: World) => void

/** The same in both repositories, as signed by everybody it takes. */
const everywhere =
  (change: Change): Story =>
  (world) => {
    world.publishFirmware({ change })
    world.publishWanted({ change })
  }
const match = (name: string, value: unknown) =>
  everywhere(at(targetOf('custom', 'match', name), value))

const ofDeployment: [number, string, Story][] = [
  [
    3,
    'mix-and-match',
    (world) => world.publishWanted({ change: at(targetOf('hashes'), { sha256: sha256('x') }) }),
  ],
  [4, 'rollback', match('svn', 40)],
  [
    5,
    'mix-and-match',
    (world) => world.publishWanted({ change: at(targetOf('custom', 'match', 'svn'), 99) }),
  ],
  [6, 'wrong-hardware', match('hardwareIds', ['gate-2-r4'])],
  [7, 'arbitrary', (world) => world.publishFirmware({ keys: world.release.slice(0, 1) })],
  [8, 'arbitrary', (world) => world.publishFirmware({ keys: makeKeys(2) })],
  [9, 'mix-and-match', (world) => world.publishFirmware({ change: at(targetOf('length'), 9) })],
  [
    47,
    'freeze',
    (world) => world.publishSnapshot({ change: at(['expires'], '2026-11-23T08:59:59Z') }),
  ],
  [33, 'mix-and-match', (world) => world.publishWanted({ change: at(targetOf('length'), 9_999) })],
  [34, 'partial-bundle', match('requires', { radio: 206 })],
  [37, 'dependency', match('minPrev', 401)],
]

const ofNone: [number, string, Story][] = [
  [10, 'wrong-device', (world) => world.publishWanted({ change: at(['x-device'], otherDeviceId) })],
  [
    11,
    'wrong-device',
    (world) => world.publishWanted({ change: at(targetOf('custom', 'deviceId'), otherDeviceId) }),
  ],
  [
    12,
    'arbitrary',
    (world) => world.publishWanted({ change: at(['delegations'], { keys: {}, roles: [] }) }),
  ],
  [
    17,
    'freeze',
    (world) => world.publishDirectorSnapshot({ change: at(['expires'], '2026-11-23T08:59:59Z') }),
  ],
  [
    26,
    'arbitrary',
    (world) => {
      world.director.keys.root = makeKeys(3)
      world.director.publishRoot()
    },
  ],
  [28, 'rollback', (world) => world.director.publishRoot({ change: at(['version'], 3) })],
  [29, 'arbitrary', (world) => world.publishWanted({ keys: makeKeys(1) })],
]

async function start(): Promise<World> {
  const world = offering()
  life = await DeviceLife.make({ world })
  await life.powerUp()
  return world
}

describe('an attack on what is installed is reported with its deployment', () => {
  test.each(ofDeployment)('%i: %s', async (_, code, evil) => {
    const world = await start()
    evil(world)
    await life.day()
    expect(life.reports).toMatchObject([{ state: 'failed_final', code }])
    expect(life.build()).toBe(400)
  })
})

describe('an attack on what the director says is a security event, and then the honest files install', () => {
  test.each(ofNone)('%i: %s', async (_, code, evil) => {
    const world = await start()
    const before = { roots: [...world.director.roots], keys: world.director.keys.root }
    evil(world)
    await life.hello()
    await life.settle()
    expect(life.events).toMatchObject([
      { kind: 'update-refused', detail: expect.stringMatching(new RegExp(`^${code}:`)) },
    ])
    expect(life.reports).toEqual([])
    world.director.roots.splice(0, Infinity, ...before.roots)
    world.director.keys.root = before.keys
    world.publishWanted()
    await life.day()
    expect(life.state()).toBe('succeeded')
  })
})

test('32 an endless bundle is a security event with its code', async () => {
  const world = await start()
  const { director, image } = world.bundle()
  const endless = encodeBundle({ director, image: { ...image, x: ' '.repeat(70_000) } })
  await life.updater.takeBundle(endless, ['ab'.repeat(16)])
  await life.settle()
  expect(life.events).toMatchObject([{ detail: expect.stringMatching(/^endless-data:/) }])
  await life.day()
  expect(life.state()).toBe('succeeded')
})

test('1 the honest twin of them all: the same device, untouched, installs and reports it', async () => {
  const world = await start()
  await life.day()
  expect(life.reports.at(-1)).toMatchObject({ state: 'succeeded', sha256: sha256(firmware) })
  expect(life.events).toEqual([])
  expect(world.builds[path]).toBeDefined()
})
