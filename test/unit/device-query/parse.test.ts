import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { parseDeviceQuery } from '../../../server/device-query/parse.ts'
import { asksForGroups, dependsOnTime } from '../../../server/device-query/query.ts'
import { compareVersions, versionKey } from '../../../server/device-query/version.ts'
import { DomainError } from '../../../server/errors.ts'
import { queries } from '../../support/device-queries.ts'

function refusal(text: string): DomainError {
  try {
    parseDeviceQuery(text)
  } catch (error) {
    if (error instanceof DomainError) return error
    throw error
  }
  throw new Error(`not refused: ${text}`)
}

test('the query of the documentation', () => {
  const text =
    'model = "cam-2" and attributes.region in ("eu","uk") and installed.app < "2.4.0" and lastSeen > 7d'
  expect(parseDeviceQuery(text)).toEqual({
    kind: 'all',
    terms: [
      {
        kind: 'compare',
        negated: false,
        field: { type: 'text', name: 'model' },
        test: { op: 'in', values: ['cam-2'] },
      },
      {
        kind: 'compare',
        negated: false,
        field: { type: 'attribute', key: 'region' },
        test: { op: 'in', values: ['eu', 'uk'] },
      },
      {
        kind: 'compare',
        negated: false,
        field: { type: 'version', component: 'app' },
        test: { op: 'order', order: '<', value: '2.4.0' },
      },
      {
        kind: 'compare',
        negated: false,
        field: { type: 'instant', name: 'lastSeen' },
        test: { op: 'instant', order: '>', at: { seconds: 604_800 } },
      },
    ],
  })
})

test('and binds closer than or; not moves down to the comparisons', () => {
  const shape = (text: string) => JSON.stringify(parseDeviceQuery(text))
  expect(shape('connected or managed and updateOptOut')).toBe(
    shape('connected or (managed and updateOptOut)'),
  )
  expect(shape('not (connected or managed and updateOptOut)')).toBe(
    shape('not connected and (not managed or not updateOptOut)'),
  )
  expect(shape('not not connected')).toBe(shape('connected'))
  expect(shape('not model != "a"')).toBe(shape('model = "a"'))
  expect(shape('not model not in ("a")')).toBe(shape('model in ("a")'))
  expect(shape('connected = false')).toBe(shape('not connected'))
  expect(shape('connected != false')).toBe(shape('connected'))
})

test.each([
  ['', 1, 'the name of a field'],
  ['modl = "a"', 1, 'there is no field modl; fields: id, name'],
  ['model', 6, 'a comparison'],
  ['model = ', 9, 'a text in quotation marks'],
  ['model = cam', 9, 'a text in quotation marks'],
  ['model = "cam', 9, 'no closing quotation mark'],
  ['model == "cam"', 8, 'a text in quotation marks'],
  ['model < "cam"', 7, '=, !=, in or like'],
  ['model ! "a"', 7, '!= or not'],
  ['model = "a" model = "b"', 13, 'and, or, or the end'],
  ['model = "a" and', 16, 'the name of a field'],
  ['(model = "a"', 13, 'a closing bracket'],
  ['model = "a")', 12, 'and, or, or the end'],
  ['model in "a"', 10, 'a list in brackets'],
  ['model in ("a"', 14, 'a comma or a closing bracket'],
  ['model in ()', 12, 'a comma or a closing bracket'],
  ['model in (7)', 11, 'a text in quotation marks'],
  ['model not = "a"', 11, 'in, like or exists'],
  ['model like 7', 12, 'a text in quotation marks'],
  ['lastSeen like "a"', 10, 'like compares text'],
  ['lastSeen = 7d', 10, 'compare an instant with < or >'],
  ['lastSeen > 7', 12, 'a duration'],
  ['lastSeen > 7y', 12, 'a duration'],
  ['lastSeen > "2026-13-01"', 12, 'a duration'],
  ['lastSeen > "yesterday"', 12, 'a duration'],
  ['lastSeen > 99999999w', 12, '100 years'],
  ['connected > true', 11, '= true or = false'],
  ['connected = "true"', 13, 'true or false'],
  ['state = "on"', 9, 'one of registered, active'],
  ['id = "7"', 6, 'a UUID'],
  ['attributes = "a"', 1, 'there is no field attributes'],
  ['attributes.a.b = "a"', 1, 'there is no field attributes.a.b'],
  ['attributes."" = 1', 12, 'a name is expected'],
  ['attributes.a < "b"', 16, 'with numbers only'],
  ['attributes.a = b', 16, 'a text in quotation marks, a number'],
  ['installed.app < "new"', 17, 'a version like'],
  ['installed.app.build = 1.5', 23, 'a whole number'],
  ['installed.app.size = 1', 1, 'there is no field installed.app.size'],
  ['name = "a\u0000"', 8, 'no control characters'],
  ['name = "\ud800"', 8, 'no control characters'],
  ['name = "a" # b', 12, 'is expected here'],
])('%j is refused at column %i', (text, column, says) => {
  const { code, message, facts } = refusal(text)
  expect(code).toBe('invalid-request')
  expect(message).toContain(`column ${column}: `)
  expect(message).toContain(says)
  expect(facts['position']).toBe(column - 1)
})

describe('bounds', () => {
  const one = 'connected'
  test('comparisons', () => {
    const of = (n: number) => Array<string>(n).fill(one).join(' or ')
    expect(parseDeviceQuery(of(100))).toBeDefined()
    expect(refusal(of(101)).message).toContain('at most 100 comparisons')
  })
  test('depth', () => {
    const of = (n: number) => `${'('.repeat(n)}${one}${')'.repeat(n)}`
    expect(parseDeviceQuery(of(19))).toBeDefined()
    expect(refusal(of(20)).message).toContain('at most 20 deep')
    expect(refusal(`${'not '.repeat(400)}${one}`).message).toContain('at most 20 deep')
  })
  test('length', () => {
    expect(parseDeviceQuery(`name = "${'x'.repeat(1_991)}"`)).toBeDefined()
    expect(refusal(`name = "${'x'.repeat(1_992)}"`).message).toContain('at most 2000 characters')
  })
})

test('whatever is written, the answer is a query or a refusal with a place', () => {
  const piece = fc.oneof(
    queries,
    fc.constantFrom(
      'and',
      'or',
      'not',
      'in',
      '(',
      ')',
      '"',
      "'",
      '\\',
      '.',
      ',',
      '=',
      '!=',
      '<',
      '7d',
      'x',
    ),
    fc.string({ maxLength: 5 }),
  )
  let refused = 0
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), fc.constantFrom('', ' '), (pieces, between) => {
      const text = pieces.join(between)
      try {
        parseDeviceQuery(text)
      } catch (error) {
        if (!(error instanceof DomainError)) throw error
        refused += 1
        expect(error.facts['position']).toBeLessThanOrEqual(text.length)
      }
    }),
    { numRuns: 3_000, seed: 7 },
  )
  expect(refused).toBeGreaterThan(1_000)
  expect(refused).toBeLessThan(2_990)
})

test('versions stand in order', () => {
  const rising = ['1', '2.4.0-rc1', '2.4', '2.4.0.1', '2.10.0-a', 'v2.10', '10', '999999999']
  const keys = rising.map((version) => versionKey(version) ?? [])
  for (const [n, key] of keys.entries()) {
    expect(keys.slice(n + 1).every((later) => compareVersions(key, later) < 0)).toBe(true)
    expect(compareVersions(key, [...key])).toBe(0)
  }
  expect(versionKey('2.4.0+b1')).toEqual(versionKey('2.4'))
  const none = ['', 'nightly', '1.', '.1', '1..2', '1.2.3.4.5.6.7.8.9', '1234567890', '1.2 ', '１']
  expect(none.map(versionKey)).toEqual(none.map(() => undefined))
})

test('what changes by itself, and what asks for groups', () => {
  const yes = [
    'lastSeen > 1d',
    'not connected',
    'model = "a" or (managed and certificate.expires < 1d)',
  ]
  expect(yes.every((text) => dependsOnTime(parseDeviceQuery(text)))).toBe(true)
  expect(dependsOnTime(parseDeviceQuery('model = "a" or managed and group = "x"'))).toBe(false)
  expect(asksForGroups(parseDeviceQuery('model = "a" or not group = "x"'))).toBe(true)
  expect(asksForGroups(parseDeviceQuery('model = "a" or hardwareIds = "x"'))).toBe(false)
})
