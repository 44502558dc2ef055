import { expect, test } from 'vitest'

import { canonicalize } from '../../../pki/tuf/canonical.ts'
import { signBytes } from '../../../pki/tuf/envelope.ts'
import { keyId, tufKeyOf } from '../../../pki/tuf/keys.ts'
import { attack, refusalOf } from '../../support/tuf-attack.ts'
import { nonce, World } from '../../support/tuf-fixture.ts'
import { at, type Json, makeKeys, type Repository, signers } from '../../support/tuf-repository.ts'

// The numbers are those of updates.md section 8.

/** Replaces all three root keys; the twin signs with two old and two new ones. */
function rotateRoot(repository: Repository, pick: (old: 'old' | 'new') => boolean): void {
  const before = repository.keys.root
  repository.keys.root = makeKeys(3)
  repository.publishRoot({
    keys: [
      ...(pick('old') ? before.slice(0, 2) : []),
      ...(pick('new') ? repository.keys.root.slice(0, 2) : []),
    ],
  })
}

for (const name of ['director', 'image'] as const) {
  attack(`26 ${name} root 2 signed by new keys only`, 'arbitrary', {
    evil: (world) => rotateRoot(world[name], (half) => half === 'new'),
    twin: (world) => rotateRoot(world[name], () => true),
  })

  attack(`27 ${name} root 2 signed by old keys only`, 'arbitrary', {
    evil: (world) => rotateRoot(world[name], (half) => half === 'old'),
    twin: (world) => rotateRoot(world[name], () => true),
  })

  attack(`28 ${name} root version skipped inside the file`, 'rollback', {
    evil: (world) => world[name].publishRoot({ change: at(['version'], 3) }),
    twin: (world) => world[name].publishRoot({ change: at(['version'], 2) }),
  })

  attack(`28 ${name} root file left out of the chain`, 'rollback', {
    evil: (world) => {
      world[name].publishRoot()
      world[name].publishRoot()
      const bundle = world.bundle()
      delete bundle[name]['2.root.json']
      return { bundle }
    },
    twin: (world) => {
      world[name].publishRoot()
      world[name].publishRoot()
    },
  })

  attack(`46 expired ${name} root`, 'freeze', {
    evil: (world) => world[name].publishRoot({ change: at(['expires'], '2026-11-23T09:00:00Z') }),
    twin: (world) => world[name].publishRoot({ change: at(['expires'], '2026-11-23T09:00:01Z') }),
  })

  attack(`53 ${name} root with threshold 0`, 'arbitrary', {
    evil: (world) => world[name].publishRoot({ change: at(['roles', 'snapshot', 'threshold'], 0) }),
    twin: (world) => world[name].publishRoot({ change: at(['roles', 'snapshot', 'threshold'], 1) }),
  })

  attack(`53 ${name} root with a key id twice in a role`, 'arbitrary', {
    evil: (world) => world[name].publishRoot({ change: (signed) => doubleKey(signed, 'targets') }),
  })
}

function keyidsOf(signed: Json, role: string): string[] {
  const roles = signed['roles'] as unknown as Record<string, { keyids: string[] }>
  return roles[role]?.keyids ?? []
}

function doubleKey(signed: Json, role: string): void {
  const keyids = keyidsOf(signed, role)
  keyids.push(keyids[0] ?? '')
}

test('27 a new root file replaces nothing when it is refused', () => {
  const world = World.honest()
  rotateRoot(world.director, (half) => half === 'old')
  const refused = refusalOf(() => world.verify())
  expect(refused?.state).toEqual(world.factoryState())
})

test('29 a root that retires a key: the new one signs', () => {
  const world = World.honest()
  const state = world.updatedState()
  world.release = makeKeys(3)
  world.delegations = [
    {
      ...world.delegations[0],
      name: 'fw-gate-2',
      paths: ['fw/gate-2/*/*'],
      ...signers(world.release, 2),
    },
  ]
  world.publishDelegations()
  // The held file of the old signers is verified against the current delegator.
  expect(refusalOf(() => world.verify({ state }))?.code).toBe('arbitrary')
  world.publishFirmware()
  expect(world.verify({ state }).targets).toHaveLength(1)
})

attack("30 one key's signature twice", 'arbitrary', {
  evil: (world) => world.publishFirmware({ keys: [0, 0].flatMap((at) => world.release[at] ?? []) }),
  twin: (world) => world.publishFirmware({ keys: [0, 1].flatMap((at) => world.release[at] ?? []) }),
})

attack('43 same key under two ids', 'arbitrary', {
  evil: (world) => signUnderTwoNames(world, [0, 0]),
  twin: (world) => signUnderTwoNames(world, [0, 1]),
})

/** Delegates to two key ids and signs under both, with the release keys given by number. */
function signUnderTwoNames(world: World, [first, second]: [number, number]): void {
  const keys = [world.release[first], world.release[second]].flatMap((key) => key ?? [])
  const names = ['first', 'second']
  world.publishDelegations({
    change: (signed) => {
      const roles = [
        {
          keyids: names,
          name: 'fw-gate-2',
          paths: ['fw/gate-2/*/*'],
          terminating: true,
          threshold: 2,
        },
      ]
      const named = Object.fromEntries(
        keys.map((key, index) => [names[index] ?? '', tufKeyOf(key)]),
      )
      Object.assign(signed, { delegations: { keys: named, roles } })
    },
  })
  const { text } = world.image.file('fw-gate-2')
  const signed = canonicalize(JSON.parse(text).signed)
  const signatures = keys.map((key, index) => ({ ...signBytes(signed, key), keyid: names[index] }))
  const renamed = `{"signatures":${canonicalize(signatures).toString()},"signed":${signed.toString()}}`
  world.image.files.set('fw-gate-2', { version: 1, text: renamed })
  world.publishSnapshot()
}

test('44 unknown keytype beside a valid one: skipped', () => {
  const world = World.honest()
  const unknown = { keytype: 'ml-dsa', scheme: 'ml-dsa-65', keyval: { public: 'AAAA' } }
  world.director.publishRoot({
    change: (signed) => {
      keyidsOf(signed, 'timestamp').push(keyId(unknown))
      at(['keys', keyId(unknown)], unknown)(signed)
    },
  })
  expect(world.verify().targets).toHaveLength(1)
})

test('44 a signature under the unknown key does not count', () => {
  const world = World.honest()
  const [thief] = makeKeys(1)
  if (!thief) throw new Error('No key')
  const unknown = { ...tufKeyOf(thief), keytype: 'ml-dsa' }
  world.director.publishRoot({
    change: (signed) => {
      keyidsOf(signed, 'timestamp').push(keyId(tufKeyOf(thief)))
      at(['keys', keyId(tufKeyOf(thief))], unknown)(signed)
    },
  })
  world.answer({ keys: [thief] })
  expect(refusalOf(() => world.verify({ now: { nonce } }))?.code).toBe('arbitrary')
})

test('49 root walk to the cap of 64: installs; beyond: endless-data, and the next run goes on', () => {
  const world = World.honest()
  const roots = shortRoots(world, 66)
  const before = { ...world.factoryState().director, root: roots[0] ?? '' }
  const state = { ...world.factoryState(), director: before }
  const { director, image } = world.bundle()
  const withRoots = (count: number) => {
    const named = roots.slice(0, count).map((text, index) => [`${index + 1}.root.json`, text])
    return { director: { ...director, ...Object.fromEntries(named) }, image }
  }
  expect(world.verify({ state, bundle: withRoots(65) }).targets).toHaveLength(1)
  const stopped = refusalOf(() => world.verify({ state, bundle: withRoots(66) }))
  expect(stopped?.code).toBe('endless-data')
  expect(stopped?.state?.director.root).toBe(roots[64])
  const next = { state: stopped?.state ?? state, bundle: withRoots(66) }
  expect(world.verify(next).targets).toHaveLength(1)
})

/** A chain short enough that the size of the bundle is not what stops the walk: one key, a short id. */
function shortRoots(world: World, count: number): string[] {
  const { keys } = world.director
  const [key] = keys.root
  if (!key) throw new Error('No key')
  const role = { keyids: ['k'], threshold: 1 }
  const honest = JSON.parse(world.director.roots[0] ?? '').signed
  const online = honest.roles
  return Array.from({ length: count }, (_, index) => {
    const last = index === count - 1 || index === count - 2
    const roles = last
      ? { ...online, root: role }
      : { root: role, snapshot: role, targets: role, timestamp: role }
    const named = { k: tufKeyOf(key), ...(last && honest.keys) }
    const signed = canonicalize({ ...honest, keys: named, roles, version: index + 1 })
    const signatures = canonicalize([{ ...signBytes(signed, key), keyid: 'k' }])
    return `{"signatures":${signatures.toString()},"signed":${signed.toString()}}`
  })
}

attack('53 delegation with threshold 0', 'arbitrary', {
  evil: (world) =>
    world.publishDelegations({ change: at(['delegations', 'roles', 0, 'threshold'], 0) }),
  twin: (world) =>
    world.publishDelegations({ change: at(['delegations', 'roles', 0, 'threshold'], 2) }),
})

test('54 evaluation root on a production device: evaluation; on one that allows it: installs', () => {
  const world = World.honest({ evaluation: true })
  expect(world.verify().targets).toHaveLength(1)
  expect(refusalOf(() => world.verify({ device: { allowEvaluation: false } }))?.code).toBe(
    'evaluation',
  )
})

for (const name of ['director', 'image'] as const) {
  test(`54 no ${name} chain from evaluation to production`, () => {
    const world = World.honest({ evaluation: true })
    world[name].publishRoot({ evaluation: true })
    expect(world.verify().targets).toHaveLength(1)
    world[name].publishRoot({ evaluation: false })
    expect(refusalOf(() => world.verify())?.code).toBe('evaluation')
  })

  test(`54 no ${name} chain from production to evaluation`, () => {
    const world = World.honest()
    world[name].publishRoot({ evaluation: true })
    const device = { allowEvaluation: true }
    expect(refusalOf(() => world.verify({ device }))?.code).toBe('evaluation')
  })
}

test('54 no chain for both repositories at once', () => {
  const world = World.honest({ evaluation: true })
  world.director.publishRoot({ evaluation: false })
  world.image.publishRoot({ evaluation: false })
  const refused = refusalOf(() => world.verify())
  expect(refused?.code).toBe('evaluation')
  expect(refused?.state).toEqual(world.factoryState())
})

test('54 one repository for evaluation and one not: evaluation', () => {
  const world = World.honest()
  const other = World.honest({ evaluation: true })
  const state = { ...world.factoryState(), image: other.factoryState().image }
  const bundle = { director: world.bundle().director, image: other.bundle().image }
  const attempt = { state, bundle, device: { allowEvaluation: true } }
  expect(refusalOf(() => world.verify(attempt))?.code).toBe('evaluation')
})
