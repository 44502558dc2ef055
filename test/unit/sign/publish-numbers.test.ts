import { expect, test } from 'vitest'

import { decodeEnvelope } from '../../../pki/tuf/envelope.ts'
import {
  checkModelDraft,
  checkRootDraft,
  checkTargetsDraft,
} from '../../../pki/tuf/publish-check.ts'
import type { Delegation } from '../../../pki/tuf/types.ts'
import { World } from '../../support/tuf-fixture.ts'
import { at, type Change, type Json } from '../../support/tuf-repository.ts'

/** What a device refuses by these numbers is refused before it is published, too. */
const signedOf = (text: string) => decodeEnvelope(Buffer.from(text), 65_536).signedBytes
const faults = (problems: { fault: string }[]) => problems.map(({ fault }) => fault)

function targets(change: Change): string[] {
  const world = World.honest()
  world.publishDelegations({ change: (signed) => (at(['version'], 1)(signed), change(signed)) })
  const signed = signedOf(world.image.file('targets').text)
  return faults(checkTargetsDraft({ signed, now: world.now }))
}

function root(change: Change): string[] {
  const world = World.honest()
  world.image.publishRoot({ change: (signed) => (at(['version'], 1)(signed), change(signed)) })
  return faults(checkRootDraft({ signed: signedOf(world.image.roots[1] ?? ''), now: world.now }))
}

function model(change: Change): string[] {
  const world = World.honest()
  world.publishFirmware({ change: (signed) => (at(['version'], 1)(signed), change(signed)) })
  const delegation: Delegation = {
    name: 'fw-gate-2',
    paths: ['fw/gate-2/*/*'],
    terminating: true,
    keyids: [],
    threshold: 2,
  }
  const signed = signedOf(world.image.file('fw-gate-2').text)
  return faults(
    checkModelDraft({
      signed,
      model: 'gate-2',
      delegation,
      hardwareIds: ['gate-2-r3', 'gate-2-r4'],
      highest: new Map(),
      now: world.now,
    }),
  )
}

const nothing: Change = () => undefined
const role = (...rest: string[]) => ['delegations', 'roles', 0, ...rest]

/** One key under another id as well, and both named. */
function keyTwice(signed: Json): void {
  const delegations = signed['delegations'] as Json
  const keys = delegations['keys'] as Json
  const [keyid = ''] = Object.keys(keys)
  const other = 'ab'.repeat(32)
  keys[other] = keys[keyid]
  const [first] = delegations['roles'] as unknown as { keyids: string[] }[]
  if (first) first.keyids = [keyid, other]
}

test('the honest twins: targets, root and model as they are', () => {
  expect([targets(nothing), root(nothing), model(nothing)]).toEqual([[], [], []])
})

test('43 the same key under two ids', () => {
  expect(targets(keyTwice)).toContain('keys')
})

test('44 a key of a kind that is not known', () => {
  expect(
    targets((signed) => {
      const keys = (signed['delegations'] as Json)['keys'] as Json
      const [keyid = ''] = Object.keys(keys)
      at(['keytype'], 'new')(keys[keyid] as Json)
    }),
  ).toContain('keys')
})

test.each([
  ['46', 'root', root],
  ['47', 'targets', targets],
  ['48', 'a delegated role', model],
])('%s %s that has expired', (_number, _what, check) => {
  expect(check(at(['expires'], '2026-11-22T09:00:00Z'))).toEqual(['expiry'])
})

test('50 a delegated role that delegates further, in a cycle or not', () => {
  const delegations = { keys: {}, roles: [] as unknown as Json }
  expect(model(at(['delegations'], delegations))).toContain('delegation')
})

test.each(['../x', '?', '#', 'fw-../x', 'fw-Gate', 'targets', 'root'])(
  '52 a role named %s',
  (name) => {
    expect(targets(at(role('name'), name))).toContain('delegation')
  },
)

test('53 a threshold of 0, or a key id twice in a role', () => {
  expect(targets(at(role('threshold'), 0))).toEqual(['format'])
  expect(root(at(['roles', 'root', 'threshold'], 0))).toEqual(['format'])
  const twice = (signed: Json) => {
    const roles = signed['roles'] as Json
    const { keyids } = roles['root'] as unknown as { keyids: string[] }
    at(['root', 'keyids'], [keyids[0], keyids[0]])(roles)
  }
  expect(root(twice)).toEqual(['format'])
})

test('54 a root that joins evaluation and production, either way', () => {
  for (const evaluation of [true, false]) {
    const now = new Date('2026-11-23T09:00:00Z')
    const world = World.honest({ now, evaluation })
    const previous = signedOf(world.image.roots[0] ?? '')
    world.image.publishRoot({ evaluation: !evaluation })
    world.image.publishRoot({ evaluation, change: at(['version'], 2) })
    const [, joined = '', honest = ''] = world.image.roots
    const check = (text: string) =>
      faults(checkRootDraft({ signed: signedOf(text), previous, now: world.now }))
    expect(check(joined)).toEqual(['evaluation'])
    expect(check(honest)).toEqual([])
  }
})
