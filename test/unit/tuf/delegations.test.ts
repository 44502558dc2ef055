import { expect, test } from 'vitest'

import { buildTargets, type NewDelegation } from '../../../pki/tuf/build.ts'
import { pathMatches } from '../../../pki/tuf/paths.ts'
import { attack, refusalOf } from '../../support/tuf-attack.ts'
import { World } from '../../support/tuf-fixture.ts'
import { at, signers } from '../../support/tuf-repository.ts'

// The numbers are those of updates.md section 8.
const path = 'fw/gate-2/2.4.1/main.bin'

function delegation(world: World, name: string, terminating = false): NewDelegation {
  return { name, paths: ['fw/gate-2/*/*'], terminating, ...signers(world.release, 2) }
}

/** A delegated role that lists no images and delegates on. */
function putRole(world: World, role: string, delegations: NewDelegation[]): void {
  const signed = buildTargets({ ...world.image.next('model', 0), delegations })
  world.image.put(role, signed, { keys: world.release.slice(0, 2) })
}

/** Replaces what `targets` delegates, and publishes. */
function delegate(world: World, ...names: NewDelegation[]): void {
  world.delegations = names
  world.publishDelegations()
}

test('50 delegation cycle: ends, and what stands behind it is found', () => {
  const world = World.honest()
  putRole(world, 'a', [delegation(world, 'b')])
  putRole(world, 'b', [delegation(world, 'a'), delegation(world, 'fw-gate-2')])
  delegate(world, delegation(world, 'a'))
  expect(world.verify().targets).toHaveLength(1)
})

test('50 delegation cycle with nothing behind it: arbitrary', () => {
  const world = World.honest()
  putRole(world, 'a', [delegation(world, 'b')])
  putRole(world, 'b', [delegation(world, 'a')])
  delegate(world, delegation(world, 'a'))
  expect(refusalOf(() => world.verify())?.code).toBe('arbitrary')
})

attack('51 more delegated roles than 32', 'endless-data', {
  evil: (world) => chain(world, 32),
  twin: (world) => chain(world, 31),
})

/** The firmware role behind `count` others. */
function chain(world: World, count: number): void {
  const [key] = signers(world.release, 1).keys
  const one = { paths: ['fw/gate-2/*/*'], terminating: false, keys: key ? [key] : [], threshold: 1 }
  for (let index = 0; index < count; index += 1) {
    const last = index === count - 1
    putRole(world, `r${index}`, [
      last ? delegation(world, 'fw-gate-2') : { name: `r${index + 1}`, ...one },
    ])
  }
  delegate(world, { name: 'r0', ...one })
}

test.each(['../x', '?', '#', '/x', '%2e%2e', 'constructor', 'a b'])(
  '52 a role named %s is a name like any other, in files as in the state',
  (name) => {
    const world = World.honest()
    putRole(world, name, [delegation(world, 'fw-gate-2')])
    delegate(world, delegation(world, name))
    const bundle = world.bundle()
    expect(Object.keys(bundle.image)).toContain(`1.${encodeURIComponent(name)}.json`)
    const { targets, state } = world.verify({ bundle })
    expect(targets).toHaveLength(1)
    expect(Object.keys(state.image.delegated)).toEqual([name, 'fw-gate-2'])
    const image = { 'timestamp.json': bundle.image['timestamp.json'] ?? '' }
    expect(world.verify({ state, bundle: { ...bundle, image } }).targets).toHaveLength(1)
  },
)

test('52 a role named __proto__ is refused', () => {
  const world = World.honest()
  world.publishDelegations({ change: at(['delegations', 'roles', 0, 'name'], '__proto__') })
  expect(refusalOf(() => world.verify())?.code).toBe('mix-and-match')
})

test('delegation not in the snapshot: mix-and-match', () => {
  const world = World.honest()
  delegate(world, delegation(world, 'ghost'), delegation(world, 'fw-gate-2'))
  expect(refusalOf(() => world.verify())?.code).toBe('mix-and-match')
})

test('a terminating role has the last word', () => {
  const world = World.honest()
  putRole(world, 'empty', [])
  delegate(world, delegation(world, 'empty', true), delegation(world, 'fw-gate-2'))
  expect(refusalOf(() => world.verify())?.code).toBe('arbitrary')
  delegate(world, delegation(world, 'empty', false), delegation(world, 'fw-gate-2'))
  expect(world.verify().targets).toHaveLength(1)
})

test('a terminating role deeper down ends the search above it, too', () => {
  const world = World.honest()
  putRole(world, 'empty', [])
  putRole(world, 'a', [delegation(world, 'empty', true)])
  delegate(world, delegation(world, 'a'), delegation(world, 'fw-gate-2'))
  expect(refusalOf(() => world.verify())?.code).toBe('arbitrary')
})

test('pre-order: the first role that speaks for the path is heard', () => {
  const world = World.honest()
  const second = { name: 'second', paths: [path], ...signers(world.release, 2) }
  const { text, version } = world.image.file('fw-gate-2')
  world.image.files.set('second', { text, version })
  delegate(world, { ...second, terminating: false }, delegation(world, 'fw-gate-2'))
  expect(Object.keys(world.verify().state.image.delegated)).toEqual(['second'])
})

test('a role that does not match the path is not asked for', () => {
  const world = World.honest()
  const other = { name: 'fw-gate-3', paths: ['fw/gate-3/*/*'], ...signers(world.release, 2) }
  delegate(world, other, delegation(world, 'fw-gate-2', true))
  expect(world.verify().targets).toHaveLength(1)
})

test.each([
  ['fw/gate-2/*/*', 'fw/gate-2/2.4.1/main.bin', true],
  ['fw/gate-2/*/*', 'fw/gate-2/2.4.1/more/main.bin', false],
  ['fw/gate-2/*/*', 'fw/gate-2/main.bin', false],
  ['fw/gate-2/*/*', 'fw/gate-22/2.4.1/main.bin', false],
  ['fw/gate-2/*/*', 'FW/gate-2/2.4.1/main.bin', false],
  ['*', 'a', true],
  ['*', 'a/b', false],
  ['a?c', 'abc', true],
  ['a?c', 'a/c', false],
  ['a?c', 'ac', false],
  ['*.bin', 'main.bin', true],
  ['*.bin', 'main.bin.sig', false],
  ['a*b*c', 'aXbYbZc', true],
  ['a*b*c', 'aXcYb', false],
  ['a.c', 'abc', false],
  ['a[bc]', 'ab', false],
  ['', '', true],
  ['**', '', true],
])('pattern %j and path %j: %s', (pattern, target, expected) => {
  expect(pathMatches(pattern, target)).toBe(expected)
})

test('a pattern made to explode does not', () => {
  expect(pathMatches('*a'.repeat(120), `${'a'.repeat(5000)}b`)).toBe(false)
})
