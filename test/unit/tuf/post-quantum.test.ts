import { expect, test } from 'vitest'

import type { TrustedState } from '../../../pki/tuf/types.ts'
import { attack, refusalOf } from '../../support/tuf-attack.ts'
import { type Attempt, World } from '../../support/tuf-fixture.ts'
import {
  delegateHybrid,
  makeHybrid,
  pqKeys,
  publishHybridRoot,
  replaceFile,
  signFirmware,
  without,
  withPq,
} from '../../support/tuf-hybrid.ts'
import { at } from '../../support/tuf-repository.ts'

// The numbers are those of updates.md section 8: hybrid signatures as a device verifies them (section 10).
const release = pqKeys.release.slice(0, 2)

attack('105 firmware without its post-quantum signatures', 'arbitrary', {
  evil: (world) => {
    makeHybrid(world)
    signFirmware(world, (text) => text)
  },
  twin: makeHybrid,
})

attack('105 image targets without their post-quantum signatures', 'arbitrary', {
  evil: (world) => {
    makeHybrid(world)
    replaceFile(world.image, 'targets', (text) => without(text, 'x-pq-signatures'))
    world.publishSnapshot()
  },
  twin: makeHybrid,
})

attack('105 a delegation that no longer asks for post-quantum signatures', 'arbitrary', {
  evil: (world) => {
    makeHybrid(world)
    world.publishDelegations()
    replaceFile(world.image, 'targets', (text) => withPq(text, pqKeys.targets))
    world.publishSnapshot()
  },
  twin: (world) => {
    makeHybrid(world)
    delegateHybrid(world)
  },
})

/** What a device lacks that followed the root chain to version 2: its later links alone fill most of a message. */
function afterRoots(world: World, state: TrustedState): Attempt {
  const { director, image } = world.bundle()
  for (const files of [director, image]) delete files['2.root.json']
  return { state, bundle: { director, image } }
}

for (const name of ['director', 'image'] as const) {
  const start = (world: World): TrustedState => {
    makeHybrid(world)
    return world.updatedState()
  }

  attack(`105 a ${name} root that takes the requirement back`, 'arbitrary', {
    evil: (world) => {
      const state = start(world)
      publishHybridRoot(world[name], name, { change: at(['x-pq-required'], undefined) })
      return afterRoots(world, state)
    },
    twin: (world) => {
      const state = start(world)
      publishHybridRoot(world[name], name)
      return afterRoots(world, state)
    },
  })

  attack(`105 a ${name} root after it, signed by Ed25519 keys only`, 'arbitrary', {
    evil: (world) => {
      const state = start(world)
      publishHybridRoot(world[name], name)
      const last = world[name].roots.pop() ?? ''
      world[name].roots.push(without(last, 'x-pq-signatures'))
      return afterRoots(world, state)
    },
    twin: (world) => {
      const state = start(world)
      publishHybridRoot(world[name], name)
      return afterRoots(world, state)
    },
  })

  test(`105 the requirement of a ${name} root stays with the device, run after run`, () => {
    const world = World.honest()
    const state = start(world)
    expect(state[name].root).toContain('"x-pq-required":true')
    // As the first root was: without a word about post-quantum keys.
    world[name].publishRoot()
    const refused = refusalOf(() => world.verify(afterRoots(world, state)))
    expect(refused?.code).toBe('arbitrary')
    expect(refused?.state?.[name].root).toBe(state[name].root)
  })
}

test('105 a root that names keys and does not require them: both thresholds hold all the same', () => {
  const world = World.honest()
  publishHybridRoot(world.image, 'image', { change: at(['x-pq-required'], undefined) })
  replaceFile(world.image, 'targets', (text) => withPq(text, pqKeys.targets))
  world.publishSnapshot()
  expect(world.verify().targets).toHaveLength(1)
  replaceFile(world.image, 'targets', (text) => withPq(text, pqKeys.targets.slice(0, 1)))
  world.publishSnapshot()
  expect(refusalOf(() => world.verify())?.code).toBe('arbitrary')
})

attack('106 post-quantum signatures valid, the others missing', 'arbitrary', {
  evil: (world) => {
    makeHybrid(world)
    signFirmware(world, (text) => without(withPq(text, release), 'signatures'))
  },
  twin: (world) => {
    makeHybrid(world)
    signFirmware(world, (text) => withPq(text, release))
  },
})

attack('107 one post-quantum key signs, of two that must', 'arbitrary', {
  evil: (world) => {
    makeHybrid(world)
    signFirmware(world, (text) => withPq(text, release.slice(0, 1)))
  },
  twin: (world) => {
    makeHybrid(world)
    signFirmware(world, (text) => withPq(text, release))
  },
})

attack('107 one post-quantum key under two ids', 'arbitrary', {
  evil: (world) => signUnderTwoNames(world, [0, 0]),
  twin: (world) => signUnderTwoNames(world, [0, 1]),
})

function signUnderTwoNames(world: World, [first, second]: [number, number]): void {
  makeHybrid(world)
  const keys = [pqKeys.release[first], pqKeys.release[second]].flatMap((key) => key ?? [])
  const keyids = ['first', 'second']
  delegateHybrid(world, { keys, keyids })
  signFirmware(world, (text) => withPq(text, keys, { keyids }))
}

attack('107 one id signs twice', 'arbitrary', {
  evil: (world) => {
    makeHybrid(world)
    signFirmware(world, (text) =>
      withPq(
        text,
        [0, 0].flatMap((index) => release[index] ?? []),
      ),
    )
  },
  twin: makeHybrid,
})

for (const context of ['', 'fleetseal-tuf-v2', 'fleetseal-tuf-v1 ']) {
  attack(`108 the context string ${JSON.stringify(context)}`, 'arbitrary', {
    evil: (world) => {
      makeHybrid(world)
      signFirmware(world, (text) => withPq(text, release, { context }))
    },
    twin: (world) => {
      makeHybrid(world)
      signFirmware(world, (text) => withPq(text, release, { context: 'fleetseal-tuf-v1' }))
    },
  })
}

test('108 a signature of another file of the same keys does not count', () => {
  const world = World.honest()
  makeHybrid(world)
  const { 'x-pq-signatures': old } = JSON.parse(world.image.file('fw-gate-2').text)
  signFirmware(world, (text) => JSON.stringify({ ...JSON.parse(text), 'x-pq-signatures': old }))
  expect(refusalOf(() => world.verify())?.code).toBe('arbitrary')
})

test('the bundle of a hybrid fleet keeps to its cap', () => {
  const world = World.honest()
  makeHybrid(world)
  const { director, image } = world.bundle()
  const bytes = [...Object.values(director), ...Object.values(image)].join('').length
  expect(bytes).toBeGreaterThan(15_000)
  expect(bytes).toBeLessThan(65_536)
})
