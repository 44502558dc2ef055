import { expect, test } from 'vitest'

import {
  coveredGroups,
  coversGroup,
  knownGroups,
  knowsGroup,
  type Reach,
} from '../../server/protocol/reach.ts'

test.each<[reach: Reach, known: string[] | undefined, covered: string[] | undefined]>([
  ['fleet', undefined, undefined],
  [[], [], []],
  [[[]], [], []],
  [[['a']], ['a'], ['a']],
  [[['a', 'a']], ['a'], ['a']],
  [[['a', 'b']], ['a', 'b'], []],
  [[['a', 'b'], ['b']], ['a', 'b'], ['b']],
])('of the reach %j somebody knows %j and covers %j', (reach, known, covered) => {
  expect(knownGroups(reach)).toEqual(known)
  expect(coveredGroups(reach)).toEqual(covered)
  for (const id of ['a', 'b', 'c']) {
    expect(knowsGroup(reach, id)).toBe(known?.includes(id) ?? true)
    expect(coversGroup(reach, id)).toBe(covered?.includes(id) ?? true)
  }
})
