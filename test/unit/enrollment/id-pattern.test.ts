import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { compileIdPattern } from '../../../server/enrollment/id-pattern.ts'

describe('patterns of device identities', () => {
  test.each([
    [
      '^SN-\\d{4}$',
      ['SN-0042'],
      ['SN-042', 'SN-00421', 'xSN-0042', 'SN-0042x', 'sn-0042', 'SN-004a'],
    ],
    ['^[A-F0-9]{2,3}$', ['A0', 'FFF'], ['A', 'G0', 'A0A0', '']],
    ['^[^-]+-?x*$', ['ab', 'ab-', 'ab-xx'], ['-', 'ab--']],
    ['^a.c\\.d$', ['abc.d', 'a.c.d'], ['abcxd', 'ac.d']],
    ['^[\\w.-]{1,}$', ['a_b.c-9'], ['a b', '']],
    ['^[a-]b$', ['ab', '-b'], ['bb']],
    ['^x?$', ['', 'x'], ['xx']],
  ])('%s', (pattern, yes, no) => {
    const matches = compileIdPattern(pattern)
    for (const text of yes) expect([text, matches(text)]).toEqual([text, true])
    for (const text of no) expect([text, matches(text)]).toEqual([text, false])
  })

  test.each([
    'SN',
    '^SN',
    'SN$',
    '^SN\\$',
    '^(a|b)$',
    '^a|b$',
    '^(a+)+$',
    '^a**$',
    '^a+?$',
    '^a{3,2}$',
    '^a{65}$',
    '^\\s$',
    '^\\1$',
    '^[$',
    '^[]$',
    '^[z-a]$',
    '^[\\d-9]$',
    '^a^b$',
    '^a$b$',
    '^{2}$',
    '^a{x}$',
    '^]$',
    `^${'a'.repeat(70)}$`,
    `^${'[ab]'.repeat(60)}$`,
  ])('%s is refused', (pattern) => {
    expect(() => compileIdPattern(pattern)).toThrow(
      expect.objectContaining({ code: 'invalid-request' }),
    )
  })
})

describe('patterns of any shape', () => {
  test('what backtracking would take for ever over is done at once', () => {
    const matches = compileIdPattern(`^${'a*'.repeat(60)}b$`)
    expect(matches('a'.repeat(64))).toBe(false)
    expect(matches(`${'a'.repeat(63)}b`)).toBe(true)
  })

  test('agrees with the regular expressions of the language on what both know', () => {
    const atom = fc.constantFrom(
      'a',
      'b',
      '1',
      '.',
      '\\d',
      '\\w',
      '[ab]',
      '[^a]',
      '[0-9a]',
      '\\.',
      '-',
    )
    const times = fc.constantFrom('', '?', '*', '+', '{2}', '{1,2}', '{0,}')
    const pattern = fc
      .array(fc.tuple(atom, times), { maxLength: 5 })
      .map((items) => `^${items.flat().join('')}$`)
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '1', '.', '-'), maxLength: 8 })
    fc.assert(
      fc.property(pattern, text, (source, subject) => {
        expect(compileIdPattern(source)(subject)).toBe(new RegExp(source, 's').test(subject))
      }),
      { seed: 7, numRuns: 500 },
    )
  })

  test('refuses or compiles, and never does anything else (seeded)', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 40 }), (body) => {
        try {
          compileIdPattern(`^${body}$`)('SN-1')
        } catch (error) {
          expect(error).toMatchObject({ code: 'invalid-request' })
        }
      }),
      { seed: 7, numRuns: 500 },
    )
  })
})
