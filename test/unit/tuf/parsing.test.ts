import fc from 'fast-check'
import { expect, test } from 'vitest'

import { encodeBundle, parseBundle } from '../../../pki/tuf/bundle.ts'
import { canonicalize } from '../../../pki/tuf/canonical.ts'
import { MetadataError } from '../../../pki/tuf/errors.ts'
import { parseStrict } from '../../../pki/tuf/json.ts'
import { attack, refusalOf } from '../../support/tuf-attack.ts'
import { World } from '../../support/tuf-fixture.ts'
import { at, type Json } from '../../support/tuf-repository.ts'

// The numbers are those of updates.md section 8.
const path = 'fw/gate-2/2.4.1/main.bin'

function faultOf(text: string | Buffer, maxBytes = 100_000): string | undefined {
  try {
    parseStrict(Buffer.from(text), maxBytes)
    return undefined
  } catch (error) {
    if (error instanceof MetadataError) return error.fault
    throw error
  }
}

/** The honest bundle with one director timestamp text changed. */
function retyped(
  world: World,
  change: (text: string) => string,
): { bundle: ReturnType<World['bundle']> } {
  const bundle = world.bundle()
  bundle.director['timestamp.json'] = change(bundle.director['timestamp.json'] ?? '')
  return { bundle }
}

attack('31 endless timestamp', 'endless-data', {
  evil: (world) => retyped(world, (text) => text + ' '.repeat(16_385 - text.length)),
  twin: (world) => retyped(world, (text) => text + ' '.repeat(16_384 - text.length)),
})

attack('31 endless root', 'endless-data', {
  evil: (world) => {
    world.director.publishRoot()
    const bundle = world.bundle()
    bundle.director['2.root.json'] += ' '.repeat(65_536)
    return { bundle }
  },
  twin: (world) => world.director.publishRoot(),
})

test('32 endless bundle: endless-data, as bytes and as files', () => {
  const world = World.honest()
  const bundle = world.bundle()
  const room = 65_536 - encodeBundle({ ...bundle, image: { ...bundle.image, x: '' } }).length
  const padded = (length: number) => ({
    ...bundle,
    image: { ...bundle.image, x: ' '.repeat(length) },
  })
  expect(parseBundle(encodeBundle(padded(room)))).toEqual(padded(room))
  expect(refusalOf(() => parseBundle(encodeBundle(padded(room + 1))))?.code).toBe('endless-data')
  expect(world.verify({ bundle: padded(room) }).targets).toHaveLength(1)
  expect(refusalOf(() => world.verify({ bundle: padded(65_536) }))?.code).toBe('endless-data')
})

test.each([
  'null',
  '[]',
  '{}',
  '{"director":{}}',
  '{"director":{},"image":[]}',
  '{"director":{"a":1},"image":{}}',
  '{"director":{"__proto__":"x"},"image":{}}',
  '{"director":{"ä":"x"},"image":{}}',
  '{"director":{},"image":{}}x',
  '['.repeat(60_000),
])('32 what is no bundle is refused: %.40s', (text) => {
  expect(refusalOf(() => parseBundle(Buffer.from(text)))?.code).toBe('arbitrary')
})

test('60 depth 10,000: too deep, without using the stack', () => {
  expect(faultOf('['.repeat(10_000) + ']'.repeat(10_000))).toBe('too-deep')
  expect(faultOf('{"a":'.repeat(10_000) + '1' + '}'.repeat(10_000))).toBe('too-deep')
  expect(faultOf('['.repeat(33))).toBe('too-deep')
  expect(faultOf('['.repeat(32) + ']'.repeat(32))).toBe(undefined)
  let deep: unknown = 1
  for (let depth = 0; depth < 10_000; depth += 1) deep = [deep]
  expect(() => canonicalize(deep)).toThrow(MetadataError)
})

attack('60 a timestamp nested without end', 'endless-data', {
  evil: (world) => retyped(world, () => '['.repeat(16_000)),
})

test('61 duplicate keys, at any depth, are refused', () => {
  expect(faultOf('{"a":1,"a":1}')).toBe('syntax')
  expect(faultOf('{"x":[{"a":1,"b":2,"a":3}]}')).toBe('syntax')
  expect(faultOf('{"a":1,"b":{"a":1}}')).toBe(undefined)
})

attack('61 duplicate key', 'arbitrary', {
  evil: (world) => retyped(world, (text) => text.replace('"version":', '"version":1,"version":')),
})

test('62 __proto__ is refused, constructor is a name like any other', () => {
  expect(faultOf('{"__proto__":{"polluted":true}}')).toBe('syntax')
  const value = parseStrict(Buffer.from('{"constructor":1,"toString":2,"hasOwnProperty":3}'), 100)
  expect(Object.keys(value)).toEqual(['constructor', 'toString', 'hasOwnProperty'])
  expect(Object.getPrototypeOf(value)).toBe(null)
})

test.each(['1.0', '1e3', '-1', '-0', '01', '9007199254740992', '1'.repeat(400), '.5', '+1', '0x1'])(
  '63 the number %.20s is refused',
  (digits) => expect(faultOf(`{"version":${digits}}`)).toBe('syntax'),
)

test('63 the largest safe integer is read', () => {
  expect(parseStrict(Buffer.from('9007199254740991'), 100)).toBe(Number.MAX_SAFE_INTEGER)
})

attack('63 root version of a billion steps', 'rollback', {
  evil: (world) => {
    const bundle = world.bundle()
    bundle.director['1000000000.root.json'] = world.director.roots[0] ?? ''
    return { bundle }
  },
})

test.each(['"', '\\', '\n', '\t', 'é', '\u0000', '\u007f', '\ud83d\ude00'])(
  '64 the character %j is not part of any string, plain or escaped',
  (character) => {
    expect(faultOf(`{"a":"x${character}y"}`)).toBe('syntax')
    expect(faultOf(JSON.stringify({ a: `x${character}y` }))).toBe('syntax')
    expect(faultOf(JSON.stringify({ [`x${character}y`]: 'a' }))).toBe('syntax')
  },
)

test('64 printable ASCII is read as it is', () => {
  const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index))
  const text = printable.filter((character) => character !== '"' && character !== '\\').join('')
  expect(parseStrict(Buffer.from(`"${text}"`), 100)).toBe(text)
})

test('65 unknown fields and x- fields are signed and kept', () => {
  const world = World.honest()
  const note = { deep: [1, 'two', true] } as unknown as Json
  world.publishFirmware({
    change: (signed) => {
      at(['x-note'], note)(signed)
      at(['targets', path, 'custom', 'match', 'x-note'], note)(signed)
      at(['unknown'], 'kept')(signed)
    },
  })
  // The director must repeat what is inside match, also what this verifier does not know.
  expect(refusalOf(() => world.verify())?.code).toBe('mix-and-match')
  world.publishWanted({ change: at(['targets', path, 'custom', 'match', 'x-note'], note) })
  const { state, targets } = world.verify()
  expect(state.image.delegated['fw-gate-2']).toContain('"unknown":"kept"')
  expect(targets[0]?.match).toMatchObject({ 'x-note': note })
})

attack('66 non-canonical wire, canonical form not signed', 'arbitrary', {
  evil: (world) => retyped(world, (text) => text.replace(/("x-time":"[^"]*)9/, '$18')),
  twin: (world) =>
    retyped(world, (text) => {
      const { signatures, signed } = JSON.parse(text)
      const backwards = Object.fromEntries(Object.entries(signed).toReversed())
      return JSON.stringify({ signed: backwards, signatures }, null, 2)
    }),
})

test.each([
  ['BOM', '\ufeff{}'],
  ['trailing text', '{}x'],
  ['second value', '{}{}'],
  ['trailing NUL', '{}\u0000'],
  ['trailing comma', '{"a":1,}'],
  ['comment', '{}//'],
  ['nothing', ''],
  ['only space', '  '],
  ['unfinished', '{"a":'],
  ['unfinished string', '"abc'],
  ['single quotes', "{'a':1}"],
  ['null', 'null'],
  ['NaN', 'NaN'],
  ['tru', 'tru'],
  ['trux', 'trux'],
  ['falsy', 'falsy'],
  ['a name without quotes', '{a:1}'],
  ['a name with half its quotes', '{a":1}'],
  ['UTF-16', Buffer.from('{}', 'utf16le')],
])('67 %s is refused', (_, text) => {
  expect(faultOf(text)).toBe('syntax')
})

attack('67 trailing bytes after a timestamp', 'arbitrary', {
  evil: (world) => retyped(world, (text) => `${text}}`),
  twin: (world) => retyped(world, (text) => `${text}\n`),
})

test('canonical form: sorted, without space, and read back as the same', () => {
  const value = { b: [1, true, 'x'], a: { 'a b': 0, a: 1 }, B: 2, undefined }
  expect(canonicalize(value).toString()).toBe('{"B":2,"a":{"a":1,"a b":0},"b":[1,true,"x"]}')
  expect(canonicalize('a"b\\c').toString()).toBe(String.raw`"a\"b\\c"`)
})

test.each([[null], [1.5], [2 ** 53], [undefined], [() => 1], [10n], [Number.NaN]])(
  'canonical form of %s does not exist',
  (value) => expect(() => canonicalize({ value: [value] })).toThrow(MetadataError),
)

const plain = fc.string({ unit: fc.constantFrom(...' !#$azAZ09-_/.~{}[]:,'.split('')) })
const json = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 4 }, plain, fc.nat(), fc.boolean(), tie('list'), tie('object')),
  list: fc.array(tie('value'), { maxLength: 4 }),
  object: fc.dictionary(plain, tie('value'), { maxKeys: 4, noNullPrototype: true }),
})).value

test('whatever is canonical is read back, and canonical again', () => {
  fc.assert(
    fc.property(json, (value) => {
      const bytes = canonicalize(value)
      expect(canonicalize(parseStrict(bytes, 100_000))).toEqual(bytes)
      expect(JSON.parse(bytes.toString())).toEqual(value)
    }),
    { seed: 64, numRuns: 200 },
  )
})

test('no bytes make the parser do anything but read or refuse, nor accept what JSON.parse does not', () => {
  const pieces = fc.constantFrom(
    ...'{}[]":,\\ 01a-.e\n'.split(''),
    'true',
    'false',
    'null',
    '"a"',
    '\u00e9',
  )
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
      const text = parts.join('')
      const fault = faultOf(text)
      if (fault === undefined) expect(() => JSON.parse(text)).not.toThrow()
    }),
    { seed: 67, numRuns: 1000 },
  )
})
