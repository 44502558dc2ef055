import { expect, test } from 'vitest'

import { heldVersions, raiseSvn } from '../../../pki/tuf/bundle.ts'
import { canonicalize } from '../../../pki/tuf/canonical.ts'
import { decodeEnvelope } from '../../../pki/tuf/envelope.ts'
import {
  checkModelDraft,
  checkRoot,
  checkTargetsDraft,
  type ModelDraft,
} from '../../../pki/tuf/publish-check.ts'
import type { Envelope } from '../../../pki/tuf/types.ts'
import { World } from '../../support/tuf-fixture.ts'
import { at, type Change, type Json, makeKeys } from '../../support/tuf-repository.ts'

const path = 'fw/gate-2/2.4.2/main.bin'
const matchOf = (...rest: string[]) => ['targets', path, 'custom', 'match', ...rest]

function envelopeOf(text: string): Envelope {
  return decodeEnvelope(Buffer.from(text), 65_536)
}

/** A world with build 412 published and 413 drafted as version 2 of the model role. */
function draftOf(change: Change = () => undefined): ModelDraft {
  const world = World.honest()
  const previous = envelopeOf(world.image.file('fw-gate-2').text).signedBytes
  world.addBuild({ version: '2.4.2', build: 413 })
  world.publishFirmware({ change })
  const [delegated] = world.delegations
  return {
    signed: envelopeOf(world.image.file('fw-gate-2').text).signedBytes,
    previous,
    model: 'gate-2',
    delegation: {
      name: 'fw-gate-2',
      paths: delegated?.paths ?? [],
      terminating: true,
      keyids: [],
      threshold: 2,
    },
    hardwareIds: ['gate-2-r3', 'gate-2-r4'],
    highest: new Map([['main', { build: 412, svn: 41 }]]),
    now: world.now,
  }
}

const faults = (problems: { fault: string }[]) => problems.map(({ fault }) => fault)

test('an honest draft has no problem', () => {
  expect(checkModelDraft(draftOf())).toEqual([])
})

test.each<[string, string, Change]>([
  ['version skipped', 'version', at(['version'], 20_000)],
  ['version repeated', 'version', at(['version'], 1)],
  ['expired', 'expiry', at(['expires'], '2026-11-23T09:00:00Z')],
  ['expiry beyond the bounds of the role', 'expiry', at(['expires'], '2027-02-21T09:00:01Z')],
  ['path outside the delegation', 'path', move('fw/gate-2/2.4.2/more/main.bin')],
  ['path of another kind', 'path', at(matchOf('kind'), 'config')],
  ['path of another version', 'path', at(matchOf('version'), '2.4.3')],
  ['path without extension', 'path', move('fw/gate-2/2.4.2/main')],
  ['other model', 'model', at(matchOf('model'), 'gate-3')],
  ['unknown hardware', 'hardware', at(matchOf('hardwareIds'), ['gate-2-r9'])],
  ['security version lowered', 'svn', at(matchOf('svn'), 40)],
  ['build number used before', 'build', at(matchOf('build'), 412)],
  ['build number falls', 'build', at(matchOf('build'), 411)],
  ['security release without fixes', 'fixes', at(matchOf('fixes'), [])],
  ['requires itself', 'build', at(matchOf('requires'), { main: 1 } as unknown as Json)],
  ['published build changes', 'path', at(['targets', 'fw/gate-2/2.4.1/main.bin', 'length'], 11)],
  [
    'delegates further',
    'delegation',
    at(['delegations'], { keys: {}, roles: [] as unknown as Json }),
  ],
  ['not a target', 'format', at(['targets', path, 'length'], 0)],
  ['nested too deep', 'format', at(matchOf('x-deep'), { a: { a: { a: {} } } })],
])('64, publish checks: %s is refused as %s', (_, fault, change) => {
  expect(faults(checkModelDraft(draftOf(change)))).toContain(fault)
})

function move(to: string): Change {
  return (signed) => {
    const targets = signed['targets'] as Json
    targets[to] = targets[path]
    delete targets[path]
  }
}

test.each(['é', '"', '\\', '\n'])('64 the string %j is refused at publish', (text) => {
  const { signed, ...draft } = draftOf()
  const changed = JSON.parse(signed.toString())
  changed.targets[path].custom.match.version = text
  expect(faults(checkModelDraft({ ...draft, signed: canonicalize(changed) }))).toEqual(['format'])
})

test('what is not canonical is refused', () => {
  const { signed, ...draft } = draftOf()
  const spaced = Buffer.from(signed.toString().replace(',', ', '))
  expect(checkModelDraft({ ...draft, signed: spaced })).toEqual([
    { fault: 'format', detail: 'Not canonical' },
  ])
})

test('withdrawing a build, and a first version, are fine', () => {
  const draft = draftOf((signed) => {
    delete (signed['targets'] as Json)['fw/gate-2/2.4.1/main.bin']
  })
  expect(checkModelDraft(draft)).toEqual([])
  const { previous: _, ...rest } = draftOf(at(['version'], 1))
  expect(checkModelDraft({ ...rest, highest: new Map() })).toEqual([])
})

function checkDelegations(change: Change): string[] {
  const world = World.honest()
  world.publishDelegations({ change: (signed) => (at(['version'], 1)(signed), change(signed)) })
  const signed = envelopeOf(world.image.file('targets').text).signedBytes
  return faults(checkTargetsDraft({ signed, now: world.now }))
}

const roleAt = (...rest: string[]) => ['delegations', 'roles', 0, ...rest]

test.each<[string, string[], Change]>([
  ['nothing', [], () => undefined],
  ['another name', ['delegation'], at(roleAt('name'), 'main')],
  ['another model than the name says', ['delegation'], at(roleAt('paths'), ['fw/gate-3/*/*'])],
  ['more paths', ['delegation'], at(roleAt('paths'), ['fw/gate-2/*/*', 'fw/gate-3/*/*'])],
  ['not terminating', ['delegation'], at(roleAt('terminating'), false)],
  ['threshold above the keys', ['keys'], at(roleAt('threshold'), 4)],
  ['threshold 0', ['format'], at(roleAt('threshold'), 0)],
  ['no keys', ['keys', 'keys'], at(['delegations', 'keys'], {})],
])('targets draft, %s changed: %j', (_, expected, change) => {
  expect(checkDelegations(change).slice(0, 2)).toEqual(expected)
})

test('root: both thresholds, next version, same kind', () => {
  const world = World.honest()
  const [first = ''] = world.image.roots
  const previous = envelopeOf(first)
  const before = world.image.keys.root
  expect(checkRoot({ envelope: previous, now: world.now })).toEqual([])
  world.image.keys.root = makeKeys(3)
  world.image.publishRoot({ before: before.slice(0, 2) })
  const [, second = ''] = world.image.roots
  const check = (envelope: Envelope) => faults(checkRoot({ envelope, previous, now: world.now }))
  const envelope = envelopeOf(second)
  expect(check(envelope)).toEqual([])
  const { signatures } = envelope
  expect(check({ ...envelope, signatures: signatures.slice(0, 2) })).toEqual(['signatures'])
  expect(check({ ...envelope, signatures: signatures.slice(2) })).toEqual(['signatures'])
  expect(check(previous)).toEqual(['version'])
  world.image.publishRoot({
    before: before.slice(0, 2),
    evaluation: true,
    change: at(['version'], 2),
  })
  expect(check(envelopeOf(world.image.roots[2] ?? ''))).toEqual(['evaluation'])
})

test('what a device holds, by version and unversioned file name', () => {
  const world = World.honest()
  expect(heldVersions(world.factoryState())).toEqual({
    director: { 'root.json': 1 },
    image: { 'root.json': 1 },
  })
  expect(heldVersions(world.verify().state)).toEqual({
    director: {
      'root.json': 1,
      'snapshot.json': 1,
      'targets.json': 1,
      'timestamp.json': 1795424400,
    },
    image: {
      'fw-gate-2.json': 1,
      'root.json': 1,
      'snapshot.json': 2,
      'targets.json': 1,
      'timestamp.json': 2,
    },
  })
})

test('the security counter rises and never falls', () => {
  const state = raiseSvn(World.honest().factoryState(), 'main', 41)
  expect(state.svn).toEqual({ main: 41 })
  expect(raiseSvn(state, 'main', 40).svn).toEqual({ main: 41 })
  expect(raiseSvn(state, 'radio', 3).svn).toEqual({ main: 41, radio: 3 })
})
