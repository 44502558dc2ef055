import { expect, test } from 'vitest'

import { describeChange } from '../../../cli/sign/describe.ts'
import { decodeEnvelope } from '../../../pki/tuf/envelope.ts'
import { World } from '../../support/tuf-fixture.ts'

type Tree = Record<string, unknown>

/** Every member that has none of its own, by the names that lead to it. */
function leaves(value: unknown, where: string[] = []): string[][] {
  if (typeof value !== 'object' || value === null) return [where]
  return Object.entries(value).flatMap(([name, member]) => leaves(member, [...where, name]))
}

function changed(tree: Tree, [name = '', ...rest]: string[]): Tree {
  const copy = structuredClone(tree)
  const member = copy[name]
  copy[name] =
    rest.length > 0 ? changed(member as Tree, rest) : typeof member === 'number' ? 7_777 : 'other'
  return copy
}

const world = World.honest({ now: new Date('2026-11-23T09:00:00Z') })
world.addBuild({ version: '2.4.2', build: 413 })
world.publishFirmware()
const signedOf = (text: string) =>
  JSON.parse(decodeEnvelope(Buffer.from(text), 65_536).signedBytes.toString()) as Tree

test.each([
  ['root', world.image.roots[0] ?? ''],
  ['targets', world.image.file('targets').text],
  ['fw-gate-2', world.image.file('fw-gate-2').text],
])('119 whatever single field of %s changes, the person who signs is shown which', (role, text) => {
  const before = signedOf(text)
  expect(describeChange(role, before, before).filter((line) => line.startsWith('  '))).toEqual([])
  const paths = leaves(before)
  expect(paths.length).toBeGreaterThan(10)
  for (const path of paths) {
    const shown = describeChange(role, before, changed(before, path))
    expect(shown.filter((line) => line.startsWith(`  ${path.join(' ')}: `))).toHaveLength(1)
  }
})

test('119 fields that come or go are shown as such, also ones nobody knows', () => {
  const before = signedOf(world.image.file('fw-gate-2').text)
  const more = { ...before, 'x-new': { deep: [1, 'two'] }, 'x-empty': {} }
  expect(describeChange('fw-gate-2', before, more)).toEqual([
    '  x-empty: (nothing) -> {}',
    '  x-new deep 0: (nothing) -> 1',
    '  x-new deep 1: (nothing) -> "two"',
  ])
  expect(describeChange('fw-gate-2', more, before)).toContain('  x-empty: {} -> (nothing)')
})
