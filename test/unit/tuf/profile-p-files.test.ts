import { expect, test } from 'vitest'

import { refusalOf } from '../../support/tuf-attack.ts'
import {
  attackOnP,
  path,
  pinsOf,
  start,
  targetOf,
  wantBuild,
} from '../../support/tuf-constrained.ts'
import { at, type Change, fileText, makeKeys, sha256 } from '../../support/tuf-repository.ts'

// The numbers are those of updates.md section 8: the verifier of a device without a JSON parser (section 4, profile P).
attackOnP('128 delegations', 'arbitrary', {
  evil: (world) => world.publishWanted({ change: at(['delegations'], { keys: {}, roles: [] }) }),
})
attackOnP('128 delegations of the release role', 'arbitrary', {
  evil: (world) => world.publishFirmware({ change: at(['delegations'], { keys: {}, roles: [] }) }),
})

attackOnP('129 other type', 'arbitrary', {
  evil: (world) => world.publishWanted({ change: at(['_type'], 'root') }),
})
attackOnP('129 a snapshot signed by the targets key', 'arbitrary', {
  evil: (world) => {
    world.publishWanted({ change: at(['_type'], 'snapshot') })
    return { now: { rtc: world.now } }
  },
})

test('130 empty targets: nothing to do, and what is known is kept', () => {
  const { world, verify } = start()
  world.wanted = {}
  world.publishWanted()
  const { targets, state } = verify()
  expect(targets).toEqual([])
  expect(state.director.targets).toBe(world.director.file('targets').text)
})
attackOnP('130 two targets in one file', 'arbitrary', {
  evil: (world) => {
    world.want(world.addBuild({ component: 'radio', build: 206 }))
    world.publishFirmware()
    world.publishWanted()
  },
})

test('131 truncated anywhere: refused; whole: installs', () => {
  const { world, verify } = start()
  const bundle = world.bundle()
  const text = bundle.director['1.targets.json'] ?? ''
  for (let length = 0; length < text.length; length += 13) {
    const director = { ...bundle.director, '1.targets.json': text.slice(0, length) }
    const attempt = { bundle: { ...bundle, director }, now: { rtc: world.now } }
    expect(refusalOf(() => verify(attempt))?.code).toBe('arbitrary')
  }
  expect(verify({ bundle, now: { rtc: world.now } }).targets).toHaveLength(1)
})
attackOnP('131 a file of more than 8 kB', 'endless-data', {
  evil: (world) =>
    wantBuild(world, {
      match: {
        fixes: Array.from({ length: 250 }, (_, index) => `CVE-2026-${'0'.repeat(28)}${index}`),
      },
    }),
  twin: (world) => wantBuild(world, { match: { fixes: ['CVE-2026-1'] } }),
})

test('132 delivery lengths before that of the target: the target counts', () => {
  const { world, verify } = start()
  const [full] = world.wanted[path]?.custom.delivery ?? []
  const delivery = [
    { m: 'zstd', length: 999_999, sha256: sha256('packed') },
    ...(full ? [full] : []),
  ]
  world.want(path, { delivery })
  world.publishWanted()
  expect(verify().targets[0]).toMatchObject({ length: 10, sha256: sha256('main 2.4.1') })
})
attackOnP('132 director keys stolen: another length', 'mix-and-match', {
  evil: (world) => world.publishWanted({ change: at(targetOf('length'), 999_999) }),
})
attackOnP('132 director keys stolen: another hash', 'mix-and-match', {
  evil: (world) =>
    world.publishWanted({ change: at(targetOf('hashes'), { sha256: sha256('evil') }) }),
})
attackOnP('132 director keys stolen: a path that nobody signed', 'arbitrary', {
  evil: (world) => {
    world.wanted = {}
    world.want(world.addBuild({ version: '9.9.9', build: 999 }))
    world.publishWanted()
  },
})

test('133 second hardware id: installs', () => {
  const { world, verify } = start()
  wantBuild(world, { match: { hardwareIds: ['gate-2-r4', 'gate-2-r3'] } })
  expect(verify().targets[0]?.match.hardwareIds).toEqual(['gate-2-r3'])
})

attackOnP('134 only one release signature', 'arbitrary', {
  evil: (world) => world.publishFirmware({ keys: world.release.slice(0, 1) }),
  twin: (world) => world.publishFirmware({ keys: world.release.slice(0, 2).toReversed() }),
})
attackOnP('134 one release signature twice', 'arbitrary', {
  evil: (world) =>
    world.publishFirmware({ keys: [0, 0].flatMap((index) => world.release[index] ?? []) }),
})
attackOnP('134 one release key pinned twice', 'arbitrary', {
  evil: (world) => {
    const pins = pinsOf(world)
    return { device: { pins: { ...pins, release: [pins.release[0], pins.release[0]] } } as object }
  },
})

test.each([
  'hashes:{sha256:',
  ',version:99',
  'svn:99',
  ',signed:{',
  '},version:',
  'x-device:other',
])('135 marker text inside a string, %s: read as the string it is', (text) => {
  const { world, verify } = start()
  wantBuild(world, { match: { fixes: [text, 'CVE-2026-1'] } })
  expect(verify().targets[0]?.match).toMatchObject({
    svn: 41,
    build: 412,
    fixes: [text, 'CVE-2026-1'],
  })
})

test.each([
  ['a quote', String.raw`x\"],"svn":99,"y":["`],
  ['a backslash', String.raw`x\\`],
  ['a newline', 'x\n'],
  ['another alphabet', 'é'],
])('64 and 135 %s inside a signed string: arbitrary', (_, text) => {
  const { world, verify } = start()
  wantBuild(world, { match: { fixes: ['PLACE'] } })
  const bundle = world.bundle()
  const { text: honest, version } = world.image.file('fw-gate-2')
  const signed = honest.slice(honest.indexOf(',"signed":') + 10, -1).replace('PLACE', text)
  const evil = fileText(Buffer.from(signed), world.release.slice(0, 2))
  const image = { ...bundle.image, [`${version}.fw-gate-2.json`]: evil }
  expect(refusalOf(() => verify({ bundle: { ...bundle, image } }))?.code).toBe('arbitrary')
  expect(verify({ bundle }).targets).toHaveLength(1)
})

test('new firmware with another timestamp key takes the time back, and forgets what that key signed', () => {
  const { world, verify } = start()
  const { state } = verify()
  world.director.keys.timestamp = makeKeys(1)
  world.answer({ change: at(['version'], 1) })
  const late = { ...state, timeAt: '2036-11-23T09:00:00Z' }
  expect(refusalOf(() => verify({ state: late }))?.code).toBe('arbitrary')
  const device = { pins: pinsOf(world) } as object
  expect(verify({ state: late, device }).time).toBe('2026-11-23T09:00:00Z')
})

test('what profile P accepts the full profile accepts, whatever a thief of the director changes', () => {
  const changes: Change[] = [
    at(['x-deployment'], undefined),
    at(['x-policy'], undefined),
    at(['x-note'], 'more'),
    at(targetOf('custom', 'component'), 'radio'),
    at(targetOf('custom', 'match', 'svn'), 99),
    at(targetOf('custom', 'match', 'build'), 413),
    at(targetOf('custom', 'v'), 2),
    at(['spec_version'], '2.0.0'),
  ]
  let accepted = 0
  for (const change of changes) {
    const { world, verify } = start()
    world.publishWanted({ change })
    if (refusalOf(() => verify())) continue
    accepted += 1
    expect(refusalOf(() => world.verify())).toBeUndefined()
  }
  expect(accepted).toBe(3)
})
