import { globSync, readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

/** The tests of the device PKI, by the numbers of its reference: how many there are of each letter. */
const numbered = {
  C: 20,
  P: 13,
  A: 26,
  R: 9,
  V: 12,
  E: 24,
  K: 5,
  S: 3,
  M: 1,
  I: 1,
  F: 6,
  D: 2,
  X: 2,
}

/** Without a test, and why. */
const reasons: Record<string, string> = {
  M1: 'CMP is not offered: its messages end at a path that does not exist (E2), as everything unknown does (A22).',
  F6: 'CMP is not offered, so that there is no parser of its messages.',
}

const all = Object.entries(numbered).flatMap(([letter, count]) =>
  Array.from({ length: count }, (_, index) => `${letter}${index + 1}`),
)

/** The numbers at the beginning of the titles of tests and groups of tests. */
function titledNumbers(): Set<string> {
  const found = new Set<string>()
  for (const file of globSync('test/**/*.test.ts')) {
    const text = readFileSync(file, 'utf8')
    for (const [, , title = ''] of text.matchAll(/\(\s*(['"`])([A-Z]\d[^\n]*?)\1\s*,/g)) {
      for (const [number] of title.matchAll(/\b[A-Z]\d{1,2}\b/g)) found.add(number)
    }
  }
  return found
}

test('every number of the device PKI is in the title of a test, or it is said why not', () => {
  const found = titledNumbers()
  const missing = all.filter((number) => !found.has(number) && !(number in reasons))
  expect(missing).toEqual([])
  expect(all).toHaveLength(124)
  expect(Object.keys(reasons).filter((number) => !all.includes(number))).toEqual([])
})
