import { globSync, readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

/**
 * updates.md section 8 numbers the attacks and faults of an update from 1 to 140. The title of a test begins with the number it is
 * for: `test('72 of other bytes…')`; a test of several has one title for each.
 */
const count = 140

/** Titles that begin with a number of something else. */
const others = [/^64 (?:at once|KB)/]

const titles = globSync('test/**/*.test.ts').flatMap((file) => {
  const text = readFileSync(file, 'utf8')
  const direct = text.matchAll(
    /^\s*\]?\)?(?:test|attack\w*|it)?(?:\.\w+\([^()]*\))?\(\s*(['"`])(\d.*?)\1/gm,
  )
  const rows = file.startsWith('test/unit/tuf/')
    ? text.matchAll(/^\s*(['"`])(\d{1,3} .*?)\1,$/gm)
    : []
  return [...direct, ...rows].map(([, , title = '']) => title)
})

const tested = new Set(
  titles
    .filter((title) => others.every((other) => !other.test(title)))
    .flatMap((title) => /^(\d{1,3})[ :,]/.exec(title)?.[1] ?? [])
    .map(Number),
)

test('every numbered attack and fault is a test by its number', () => {
  const all = Array.from({ length: count }, (_, index) => index + 1)
  expect(all.filter((number) => !tested.has(number))).toEqual([])
})
