import { afterEach, expect, test } from 'vitest'

import { enrollCommand } from '../../../device-sim/commands/enroll.ts'
import { parseConfig } from '../../../device-sim/config.ts'
import { DeviceError } from '../../../device-sim/errors.ts'
import { pinsOf } from '../../../device-sim/pins.ts'
import { DeviceLife, deploymentId, offering, wholeWay } from '../../support/device-life.ts'
import { pinsOf as pinsIn } from '../../support/tuf-constrained.ts'
import { World } from '../../support/tuf-fixture.ts'
import { makeKeys, signers } from '../../support/tuf-repository.ts'

// A device without a JSON parser, from the offer to the report (updates.md section 4, profile P).
let life: DeviceLife | undefined

afterEach(async () => {
  await life?.powerDown()
})

const components = { main: { version: '2.3.9', build: 400, svn: 41 } }

async function start(world: World = offering()): Promise<DeviceLife> {
  const { release, ...pins } = pinsIn(world)
  life = await DeviceLife.make({
    world,
    config: {
      profile: 'constrained',
      pins: { ...pins, release: [release[0], release[1]] },
      components,
    },
  })
  await life.powerUp()
  return life
}

test('the whole way of an update, and the one after it', async () => {
  const device = await start()
  await device.day()
  expect(device.states()).toEqual(wholeWay)
  expect(device.build()).toBe(412)
  const { world } = device
  world.builds = {}
  world.wanted = {}
  world.want(world.addBuild({ version: '2.4.2', build: 413, svn: 42, content: 'main 2.4.2' }))
  world.publishFirmware()
  world.publishWanted({
    change: (signed) => Object.assign(signed, { 'x-deployment': deploymentId.replace(/.$/, '9') }),
  })
  device.reports.length = 0
  await device.day()
  expect(device.states()).toEqual(wholeWay)
  expect(device.build()).toBe(413)
})

test('a power cut after the download: it goes on from what is stored', async () => {
  const device = await start()
  await device.hello()
  await device.powerDown()
  await device.powerUp()
  await device.day()
  expect(device.build()).toBe(412)
})

test('a refusal names the deployment and is reported with its code', async () => {
  const world = offering()
  world.publishFirmware({ keys: world.release.slice(0, 1) })
  const device = await start(world)
  await device.day()
  expect(device.reports).toMatchObject([{ state: 'failed_final', code: 'arbitrary' }])
  expect(device.build()).toBe(400)
})

test('the pins of a device come from the root of the director and from the key folder', () => {
  const world = new World()
  const releaseKeys = signers(world.release, 2).keys
  const [directorRoot = ''] = world.director.roots
  world.director.keys.targets = makeKeys(1)
  const several = () => pinsOf({ directorRoot, publicPart: JSON.stringify({ releaseKeys }) })
  // The director of these tests has three targets keys, which no pin could follow.
  expect(several).toThrow(DeviceError)
  world.director.publishRoot()
  const root = world.director.roots.at(-1) ?? ''
  const pins = pinsOf({ directorRoot: root, publicPart: JSON.stringify({ releaseKeys }) })
  expect(pins).toEqual(pinsIn(world))
  for (const publicPart of ['', '[]', '{}', JSON.stringify({ releaseKeys: [releaseKeys[0]] })]) {
    expect(() => pinsOf({ directorRoot: root, publicPart })).toThrow(DeviceError)
  }
  expect(() => pinsOf({ directorRoot: '{}', publicPart: '{}' })).toThrow(DeviceError)
})

test('a constrained device without pins, or of several components, is no device', async () => {
  const { config } = await start()
  const { pins: _, ...unpinned } = config
  expect(() => parseConfig(unpinned)).toThrow('pinned keys')
  const two = { ...components, radio: { version: '1', build: 1, svn: 0 } }
  expect(() => parseConfig({ ...config, components: two })).toThrow('one component')
  expect(parseConfig(config).profile).toBe('constrained')
})

test.each([
  [['--constrained'], '--release-keys is missing'],
  [['--release-keys', 'tsconfig.json'], 'made with --constrained'],
  [['--constrained', '--release-keys', 'tsconfig.json'], '--director-root is not a root'],
])('enroll %j says what is missing', async (options, message) => {
  const files = ['ca', 'image-root', 'director-root'].flatMap((name) => [
    `--${name}`,
    'tsconfig.json',
  ])
  const names = ['dir', 'profile', 'token', 'model', 'serial'].flatMap((name) => [`--${name}`, 'x'])
  const given = [...files, ...names, '--hardware-id', 'x', ...options]
  await expect(enrollCommand(given, () => {})).rejects.toThrow(message)
})
