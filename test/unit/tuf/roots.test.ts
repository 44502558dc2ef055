import { expect, test } from 'vitest'

import { VerificationError } from '../../../pki/tuf/errors.ts'
import { readRoot } from '../../../pki/tuf/read.ts'
import { isRootsOnly, takeRoots } from '../../../pki/tuf/roots.ts'
import type { TrustedState } from '../../../pki/tuf/types.ts'
import { World } from '../../support/tuf-fixture.ts'
import { makeKeys } from '../../support/tuf-repository.ts'

/** A device that knows the first roots, and a repository that has gone on. */
function given(): { world: World; state: TrustedState } {
  const world = World.honest()
  const state: TrustedState = {
    director: { root: world.director.roots[0] ?? '', delegated: {} },
    image: { root: world.image.roots[0] ?? '', delegated: {} },
    timeAt: '2036-01-01T00:00:00Z',
    svn: { main: 3 },
  }
  return { world, state }
}

const rootsOf = ({ roots }: { roots: string[] }) =>
  Object.fromEntries(roots.slice(1).map((text, index) => [`${index + 2}.root.json`, text]))
const versionOf = (text: string) => readRoot((JSON.parse(text) as { signed: never }).signed).version
const facts = { allowEvaluation: true }

function refusalOf(attempt: () => unknown): VerificationError {
  try {
    attempt()
  } catch (error) {
    if (error instanceof VerificationError) return error
    throw error
  }
  throw new Error('It went through')
}

test('roots of both repositories are followed; nothing else of the state changes', () => {
  const { world, state } = given()
  for (const _ of [1, 2, 3]) world.image.publishRoot()
  world.director.publishRoot()
  const bundle = { director: rootsOf(world.director), image: rootsOf(world.image) }
  expect(isRootsOnly(bundle)).toBe(true)
  const after = takeRoots(state, bundle, facts)
  expect([versionOf(after.director.root), versionOf(after.image.root)]).toEqual([2, 4])
  expect(after).toMatchObject({ timeAt: state.timeAt, svn: state.svn })
})

test('a new time key of the director takes the time back, as in a whole bundle', () => {
  const { world, state } = given()
  world.director.keys.timestamp = makeKeys(1)
  world.director.publishRoot()
  const bundle = { director: rootsOf(world.director), image: {} }
  expect(takeRoots(state, bundle, facts).timeAt).toBeUndefined()
  // The image repository's says nothing about time.
  world.image.keys.timestamp = makeKeys(1)
  world.image.publishRoot()
  const image = takeRoots(state, { director: {}, image: rootsOf(world.image) }, facts)
  expect(image.timeAt).toBe(state.timeAt)
})

test('26 to 28 a link that does not hold ends the walk; what held before it is kept', () => {
  const { world, state } = given()
  world.image.publishRoot()
  const stranger = makeKeys(3)
  world.image.keys.root = stranger
  world.image.publishRoot({ keys: stranger.slice(0, 2) })
  const forged = refusalOf(() =>
    takeRoots(state, { director: {}, image: rootsOf(world.image) }, facts),
  )
  expect(forged.code).toBe('arbitrary')
  expect(versionOf(forged.state?.image.root ?? '')).toBe(2)

  // A version left out leaves the later ones out too.
  const other = given()
  for (const _ of [1, 2]) other.world.image.publishRoot()
  const [second, third] = other.world.image.roots.slice(1)
  const gap = { director: {}, image: { '3.root.json': third ?? '' } }
  expect(refusalOf(() => takeRoots(other.state, gap, facts)).code).toBe('rollback')
  const renamed = { director: {}, image: { '2.root.json': third ?? '' } }
  expect(refusalOf(() => takeRoots(other.state, renamed, facts)).code).toBe('rollback')
  const honest = { director: {}, image: { '2.root.json': second ?? '' } }
  expect(versionOf(takeRoots(other.state, honest, facts).image.root)).toBe(2)
})

test('54 evaluation roots are followed where the device allows them, and nowhere else', () => {
  const world = World.honest({ now: new Date('2026-11-23T09:00:00Z'), evaluation: true })
  world.image.publishRoot()
  const state: TrustedState = {
    director: { root: world.director.roots[0] ?? '', delegated: {} },
    image: { root: world.image.roots[0] ?? '', delegated: {} },
    svn: {},
  }
  const bundle = { director: {}, image: rootsOf(world.image) }
  expect(refusalOf(() => takeRoots(state, bundle, { allowEvaluation: false })).code).toBe(
    'evaluation',
  )
  expect(versionOf(takeRoots(state, bundle, facts).image.root)).toBe(2)
})

test('anything beside roots makes it a bundle like any other', () => {
  expect(isRootsOnly({ director: {}, image: {} })).toBe(false)
  expect(isRootsOnly({ director: { '2.root.json': '' }, image: { 'timestamp.json': '' } })).toBe(
    false,
  )
  expect(isRootsOnly({ director: { '02.root.json': '' }, image: {} })).toBe(false)
})
