import { expect, test } from 'vitest'

import type { Delegation } from '../../../pki/tuf/types.ts'
import { attack, refusalOf } from '../../support/tuf-attack.ts'
import { World } from '../../support/tuf-fixture.ts'
import { at, makeKeys, sha256, signers } from '../../support/tuf-repository.ts'

// The numbers are those of updates.md section 8.
const path = 'fw/gate-2/2.4.1/main.bin'
const hashesOf = ['targets', path, 'hashes']
const evil = { sha256: sha256('evil') }

attack('7 one of two release keys', 'arbitrary', {
  evil: (world) => world.publishFirmware({ keys: world.release.slice(0, 1) }),
  twin: (world) => world.publishFirmware({ keys: world.release.slice(1, 3) }),
})

attack('8 image snapshot and timestamp keys only', 'arbitrary', {
  evil: (world) => {
    world.publishFirmware({ keys: makeKeys(2), change: at(hashesOf, evil) })
    world.publishWanted({ change: at(hashesOf, evil) })
  },
})

attack('9 both release keys, honest director', 'mix-and-match', {
  evil: (world) => world.publishFirmware({ change: at(hashesOf, evil) }),
  twin: (world) => world.publishFirmware(),
})

attack('9 both release keys change only what a build requires', 'mix-and-match', {
  evil: (world) => {
    world.publishFirmware({ change: at(['targets', path, 'custom', 'match', 'minPrev'], 1) })
  },
})

attack('14 older image snapshot by the timestamp key alone', 'rollback', {
  evil: (world) => {
    const old = world.image.file('snapshot')
    world.publishFirmware()
    const state = world.updatedState()
    world.image.files.set('snapshot', old)
    world.publishTimestamp()
    return { state }
  },
  twin: (world) => {
    world.publishFirmware()
    const state = world.updatedState()
    world.publishTimestamp()
    return { state }
  },
})

attack('15 lower delegated version', 'rollback', {
  evil: (world) => {
    const old = world.image.file('fw-gate-2')
    world.publishFirmware()
    const state = world.updatedState()
    world.image.files.set('fw-gate-2', old)
    world.publishSnapshot()
    return { state }
  },
  twin: (world) => {
    const state = world.updatedState()
    world.publishFirmware()
    return { state }
  },
})

attack('16 delegated file gone from the snapshot', 'rollback', {
  evil: (world) => {
    const state = world.updatedState()
    world.publishSnapshot({ change: at(['meta', 'fw-gate-2.json'], undefined) })
    return { state }
  },
})

attack('23 old delegated file with a new snapshot', 'mix-and-match', {
  evil: (world) => {
    const { text } = world.image.file('fw-gate-2')
    world.publishFirmware()
    const bundle = world.bundle()
    bundle.image['2.fw-gate-2.json'] = text
    return { bundle }
  },
  twin: (world) => {
    world.publishFirmware()
    return { bundle: world.bundle() }
  },
})

attack('24 swapped snapshot of equal version', 'mix-and-match', {
  evil: (world) => {
    const timestamp = world.image.file('timestamp')
    const { version } = world.image.file('snapshot')
    world.publishSnapshot({
      change: (signed) => Object.assign(signed, { version, 'x-note': 'another' }),
    })
    world.image.files.set('timestamp', timestamp)
    return { bundle: world.bundle() }
  },
})

test('24 a held snapshot that the timestamp no longer names counts for nothing', () => {
  const world = World.honest()
  const state = world.updatedState()
  const { version } = world.image.file('snapshot')
  world.publishSnapshot({
    change: (signed) => Object.assign(signed, { version, 'x-note': 'another' }),
  })
  const bundle = world.bundle()
  const image = { 'timestamp.json': bundle.image['timestamp.json'] ?? '' }
  const attempt = { state, bundle: { ...bundle, image } }
  expect(refusalOf(() => world.verify(attempt))?.code).toBe('mix-and-match')
})

test('25 fast-forward to 2^31, then rotation of timestamp and snapshot keys: installs', () => {
  const world = World.honest()
  // Both online keys are stolen: every number they can set is set to the end of the scale.
  const firmware = ['meta', 'fw-gate-2.json', 'version']
  world.publishSnapshot({
    change: (signed) => [firmware, ['version']].forEach((path) => at(path, 2 ** 31)(signed)),
  })
  world.publishTimestamp({ change: at(['version'], 2 ** 31) })
  const state = refusalOf(() => world.verify())?.state
  expect(JSON.parse(state?.image.snapshot ?? '').signed.meta['fw-gate-2.json'].version).toBe(
    2 ** 31,
  )
  const attempt = state && { state }
  world.image.files.delete('snapshot')
  world.image.files.delete('timestamp')
  world.publishSnapshot()
  expect(refusalOf(() => world.verify(attempt))?.code).toBe('rollback')
  // A new timestamp key alone is not enough: the snapshot still counts.
  world.image.keys.timestamp = makeKeys(1)
  world.image.publishRoot()
  world.publishTimestamp()
  expect(refusalOf(() => world.verify(attempt))?.code).toBe('rollback')
  world.image.keys.snapshot = makeKeys(1)
  world.image.publishRoot()
  world.publishSnapshot()
  expect(world.verify(attempt).targets).toHaveLength(1)
})

attack('14 older image snapshot that lists the same files', 'rollback', {
  evil: (world) => {
    const old = world.image.file('snapshot')
    world.publishSnapshot()
    const state = world.updatedState()
    world.image.files.set('snapshot', old)
    world.publishTimestamp()
    return { state }
  },
  twin: (world) => {
    world.publishSnapshot()
    return { state: world.updatedState() }
  },
})

const listed = ['meta', 'fw-gate-2.json']

attack('24 a file of another length, no hash to tell', 'mix-and-match', {
  evil: (world) => relist(world, { length: world.image.file('fw-gate-2').text.length + 1 }),
  twin: (world) => relist(world, { length: world.image.file('fw-gate-2').text.length }),
})

attack('24 a file of another hash, no length to tell', 'mix-and-match', {
  evil: (world) => relist(world, { hashes: evil }),
  twin: (world) =>
    relist(world, { hashes: { sha256: sha256(world.image.file('fw-gate-2').text) } }),
})

attack('24 a file with only hashes nobody can compute', 'mix-and-match', {
  evil: (world) => relist(world, { hashes: { md5: 'ab' } }),
})

attack('24 a file of another version inside', 'mix-and-match', {
  evil: (world) => {
    const { text } = world.image.file('fw-gate-2')
    world.image.files.set('fw-gate-2', { text, version: 2 })
    world.publishSnapshot()
  },
})

function relist(world: World, facts: object): void {
  world.publishSnapshot({ change: at(listed, { version: 1, ...facts }) })
}

attack('19 no image timestamp, sent or held', 'freeze', {
  evil: (world) => {
    const bundle = world.bundle()
    delete bundle.image['timestamp.json']
    return { bundle }
  },
})

attack('38 path outside the delegation', 'arbitrary', {
  evil: (world) => {
    // The signers of gate-2 vouch for a path of gate-3, and a stolen director asks for it.
    const { [path]: target } = world.builds
    world.builds = {}
    const change = at(['targets', 'fw/gate-3/2.4.1/main.bin'], target)
    world.publishFirmware({ change })
    const { [path]: wanted } = world.wanted
    world.wanted = wanted ? { 'fw/gate-3/2.4.1/main.bin': wanted } : {}
    world.publishWanted()
  },
})

attack('38 path below the delegation: * does not cross /', 'arbitrary', {
  evil: (world) => move(world, 'fw/gate-2/2.4.1/more/main.bin'),
  twin: (world) => move(world, 'fw/gate-2/2.4.9/main.bin'),
})

attack(
  '38 signers of another model, delegated to, name this one in their match',
  'wrong-hardware',
  {
    evil: (world) => {
      delegate(world, { name: 'fw-gate-3', paths: ['fw/gate-3/*/*'] })
      moveTo(world, 'fw-gate-3', 'fw/gate-3/2.4.1/main.bin')
    },
  },
)

attack('38 signers of configurations pass one as firmware', 'arbitrary', {
  evil: (world) => {
    delegate(world, { name: 'cfg-gate-2', paths: ['cfg/gate-2/*/*'] })
    moveTo(world, 'cfg-gate-2', 'cfg/gate-2/7/main.bin')
  },
})

attack('39 snapshot served as targets', 'mix-and-match', {
  evil: (world) => {
    const bundle = world.bundle()
    const { text } = world.image.file('snapshot')
    bundle.image[`${world.image.file('targets').version}.targets.json`] = text
    return { bundle }
  },
})

attack('39 snapshot listed and served as targets, one key for both', 'arbitrary', {
  evil: (world) => {
    const { text, version } = world.director.file('snapshot')
    world.director.files.set('targets', { text, version })
    world.publishDirectorSnapshot()
  },
})

function delegate(world: World, role: Pick<Delegation, 'name' | 'paths'>): void {
  world.delegations.push({ ...role, ...signers(world.release, 2) })
  world.publishDelegations()
}

/** The build under another path, signed by the firmware role and asked for by the director. */
function move(world: World, to: string): void {
  moveTo(world, 'fw-gate-2', to)
}

function moveTo(world: World, role: string, to: string): void {
  const { [path]: target } = world.builds
  const { [path]: wanted } = world.wanted
  world.builds = {}
  world.publishFirmware({ change: at(['targets', to], target) })
  const { text, version } = world.image.file('fw-gate-2')
  world.image.files.set(role, { text, version })
  world.publishSnapshot()
  world.wanted = wanted ? { [to]: wanted } : {}
  world.publishWanted()
}
