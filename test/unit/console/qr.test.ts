import { createHash } from 'node:crypto'

import { expect, test } from 'vitest'

import { qrModules } from '../../../console/qr.ts'

/** Rows as text; their hash was taken when an independent reader read all of them. */
const digest = (text: string) =>
  createHash('sha256')
    .update(
      qrModules(text)
        .map((row) => row.map((dark) => (dark ? '#' : '.')).join(''))
        .join('\n'),
    )
    .digest('hex')
    .slice(0, 16)

const long = 'otpauth://totp/Fleetseal%20:abc?'.repeat(30)

test.each([
  [1, 21],
  [14, 21],
  [15, 25],
  [62, 33],
  [122, 45],
  [213, 57],
  [214, 61],
  [450, 81],
  [666, 97],
])('%i bytes make a square of %i modules', (length, size) => {
  const modules = qrModules(long.slice(0, length))
  expect(modules).toHaveLength(size)
  expect(modules.every((row) => row.length === size)).toBe(true)
})

test('what a reader has read once does not change', () => {
  expect([14, 122, 180, 331, 666].map((length) => digest(long.slice(0, length))))
    .toMatchInlineSnapshot(`
    [
      "ace6c461b42db340",
      "36c979a4ac95a0a0",
      "acf91e54242a268a",
      "0c650898dd487cb7",
      "5bc9c7fee9241f51",
    ]
  `)
})

test('finders stand in three corners, and the fourth has none', () => {
  const modules = qrModules('x')
  const corner = (x: number, y: number) =>
    [0, 6].every((dx) => [0, 6].every((dy) => modules[y + dy]?.[x + dx] === true)) &&
    modules[y + 3]?.[x + 3] === true &&
    modules[y + 1]?.[x + 1] === false
  expect([corner(0, 0), corner(14, 0), corner(0, 14), corner(14, 14)]).toEqual([
    true,
    true,
    true,
    false,
  ])
})

test('too much is refused', () => {
  expect(() => qrModules(long.slice(0, 667))).toThrow(RangeError)
})
