import type { KeyObject } from 'node:crypto'

import { expect, test } from 'vitest'

import { canonicalize } from '../../../pki/tuf/canonical.ts'
import { refusalOf } from '../../support/tuf-attack.ts'
import { attackOnP, path, start, targetOf, wantBuild } from '../../support/tuf-constrained.ts'
import type { World } from '../../support/tuf-fixture.ts'
import { at, type Change, fileText } from '../../support/tuf-repository.ts'

// What profile P asks besides the numbered cases of updates.md section 8: each check has an input that only it refuses.

/** The same change under the signatures of the director and of both release keys. */
function everywhere(world: World, change: Change): void {
  world.publishFirmware({ change })
  world.publishWanted({ change })
}

attackOnP('a snapshot that the timestamp does not name', 'mix-and-match', {
  evil: (world) => {
    const old = world.director.file('timestamp')
    world.publishDirectorSnapshot()
    world.director.files.set('timestamp', old)
  },
  twin: (world) => world.publishDirectorSnapshot(),
})

attackOnP('targets that the snapshot does not name', 'mix-and-match', {
  evil: (world) => {
    const old = world.director.file('snapshot')
    world.publishWanted()
    world.director.files.set('snapshot', old)
    world.answer()
  },
  twin: (world) => world.publishWanted(),
})

attackOnP('no answer at all', 'freeze', {
  evil: (world) => {
    const bundle = world.bundle()
    delete bundle.director['timestamp.json']
    return { bundle }
  },
})

attackOnP('an answer of another type', 'arbitrary', {
  evil: (world) => world.answer({ change: at(['_type'], 'snapshot') }),
})
attackOnP('an answer that does not say the time', 'clock', {
  evil: (world) => world.answer({ change: at(['x-time'], undefined) }),
})
attackOnP('a clock that makes no sense', 'clock', {
  evil: () => ({ now: { rtc: new Date(Number.NaN) } }),
  twin: (world) => ({ now: { rtc: world.now } }),
})

const written: [string, Change][] = [
  ['no targets', at(['targets'], undefined)],
  ['a component that is no name', at(targetOf('custom', 'component'), 'MAIN')],
  ['a target without match', at(targetOf('custom', 'match'), undefined)],
  ['another version of custom', at(targetOf('custom', 'v'), 2)],
  ['a hash that is no SHA-256', at(targetOf('hashes'), { sha256: 'ab' })],
  ['a length that is no number', at(targetOf('length'), true)],
  ['version 0', at(['version'], 0)],
  ['another specification', at(['spec_version'], '2.0.0')],
  ['a class nobody knows', at(targetOf('custom', 'match', 'class'), 'other')],
  ['a configuration', at(targetOf('custom', 'match', 'kind'), 'config')],
]
for (const [name, change] of written) {
  test(`${name}: arbitrary, whoever signed it`, () => {
    const { world, verify } = start()
    // By the clock, so that nothing is looked at but the targets.
    const asked = (text: string) => ({
      bundle: { director: { '9.targets.json': text }, image: world.bundle().image },
      now: { rtc: world.now },
    })
    expect(verify(asked(world.director.file('targets').text)).targets).toHaveLength(1)
    const { text, version } = world.image.file('fw-gate-2')
    world.image.files.set('fw-gate-2', { version, text: signedBy(text, change, world.release) })
    const [key] = world.director.keys.targets
    const evil = signedBy(world.director.file('targets').text, change, key ? [key] : [])
    expect(refusalOf(() => verify(asked(evil)))?.code).toBe('arbitrary')
  })
}

/** A file with a change, under honest signatures. */
function signedBy(text: string, change: Change, keys: readonly KeyObject[]): string {
  const { signed } = JSON.parse(text)
  change(signed)
  return fileText(canonicalize(signed), keys.slice(0, 2))
}

attackOnP('a component the device lacks', 'wrong-device', {
  evil: (world) => {
    world.builds = {}
    world.wanted = {}
    world.want(world.addBuild({ component: 'radio', build: 206 }))
    world.publishFirmware()
    world.publishWanted()
  },
})

/** The build under another path, signed by the release keys and asked for by the director. */
function move(world: World, to: string): void {
  const { [path]: target } = world.builds
  const { [path]: wanted } = world.wanted
  world.builds = {}
  world.publishFirmware({ change: at(['targets', to], target) })
  world.wanted = wanted ? { [to]: wanted } : {}
  world.publishWanted()
}

for (const [to, code] of [
  ['fw/gate-3/2.4.1/main.bin', 'wrong-hardware'],
  ['cfg/gate-2/2.4.1/main.bin', 'arbitrary'],
  ['fw/gate-2/2.4.1/more/main.bin', 'arbitrary'],
  ['fw/gate-2/2.4.1/radio.bin', 'mix-and-match'],
] as const) {
  attackOnP(`the image at ${to}`, code, {
    evil: (world) => move(world, to),
    twin: (world) => move(world, 'fw/gate-2/2.4.9/main.bin'),
  })
}

attackOnP('an image for another model under the path of this one', 'wrong-hardware', {
  evil: (world) => everywhere(world, at(targetOf('custom', 'match', 'model'), 'gate-3')),
  twin: (world) => everywhere(world, at(targetOf('custom', 'match', 'model'), 'gate-2')),
})

attackOnP('two targets files at once', 'arbitrary', {
  evil: (world) => {
    const bundle = world.bundle()
    bundle.director['2.targets.json'] = bundle.director['1.targets.json'] ?? ''
    return { bundle }
  },
})
attackOnP('the file of the release keys left out', 'mix-and-match', {
  evil: (world) => ({ bundle: { ...world.bundle(), image: {} } }),
})

test('a build number that is not where it belongs: arbitrary', () => {
  const { world, verify } = start()
  wantBuild(world, {})
  expect(verify().targets).toHaveLength(1)
  everywhere(world, at(targetOf('custom', 'match', 'build'), undefined))
  expect(refusalOf(() => verify())?.code).toBe('arbitrary')
})
