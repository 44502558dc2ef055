import { describe, expect, test } from 'vitest'

import {
  ConfigError,
  readConfigSchema,
  readSettings,
  settingsProblems,
} from '../../../pki/config-schema.ts'

const bytes = (value: unknown) => Buffer.from(JSON.stringify(value))
const schema = readConfigSchema(
  bytes({
    type: 'object',
    additionalProperties: false,
    required: ['interval'],
    properties: {
      interval: { type: 'integer', minimum: 10, maximum: 3_600, description: 'seconds' },
      gain: { type: 'number', minimum: -1, maximum: 1 },
      mode: { type: 'string', enum: ['eco', 'full'] },
      level: { type: 'integer', enum: [1, 2, 4] },
      label: { type: 'string', maxLength: 8 },
      led: { type: 'boolean' },
      hosts: { type: 'array', maxItems: 2, items: { type: 'string', minLength: 1, maxLength: 20 } },
      radio: {
        type: 'object',
        properties: { channel: { type: 'integer', minimum: 1, maximum: 13 } },
      },
    },
  }),
)
const whole = {
  interval: 60,
  gain: -0.5,
  mode: 'eco',
  level: 4,
  label: 'größe 12',
  led: true,
  hosts: ['a', 'b'],
  radio: { channel: 13 },
}
const problems = (change: Record<string, unknown>) =>
  settingsProblems(schema, { ...whole, ...change })

describe('104 settings within the schema', () => {
  test('are allowed, all of them and the least', () => {
    expect(settingsProblems(schema, whole)).toEqual([])
    expect(settingsProblems(schema, { interval: 10 })).toEqual([])
  })

  test.each([
    [{ interval: 9 }, 'settings.interval is not within 10 to 3600'],
    [{ interval: 3_601 }, 'settings.interval is not within 10 to 3600'],
    [{ interval: 60.5 }, 'settings.interval is not a whole number'],
    [{ interval: '60' }, 'settings.interval is not a whole number'],
    [{ interval: null }, 'settings.interval is not a whole number'],
    [{ gain: 1.001 }, 'settings.gain is not within -1 to 1'],
    [{ mode: 'turbo' }, 'settings.mode is none of eco, full'],
    [{ level: 3 }, 'settings.level is none of 1, 2, 4'],
    [{ label: 'too long a label' }, 'settings.label is not within 0 to 8'],
    [{ led: 1 }, 'settings.led is not true or false'],
    [{ hosts: ['a', 'b', 'c'] }, 'the length of settings.hosts is not within 0 to 2'],
    [{ hosts: ['a', ''] }, 'settings.hosts[1] is not within 1 to 20'],
    [{ hosts: 'a' }, 'settings.hosts is not a list'],
    [{ radio: { channel: 14 } }, 'settings.radio.channel is not within 1 to 13'],
    [{ radio: [] }, 'settings.radio is not an object'],
    [{ other: 1 }, 'settings.other is not a setting'],
    [{ constructor: 1 }, 'settings.constructor is not a setting'],
  ])('refuse %j', (change, problem) => {
    expect(problems(change)).toEqual([problem])
  })

  test('refuse what is missing, or no settings at all', () => {
    expect(settingsProblems(schema, {})).toEqual(['settings.interval is missing'])
    expect(settingsProblems(schema, [])).toEqual(['settings is not an object'])
    const hostile = JSON.parse('{"interval":60,"__proto__":{"led":true}}')
    expect(settingsProblems(schema, hostile)).toEqual(['settings.__proto__ is not a setting'])
  })

  test('report a bounded number of problems', () => {
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`x${n}`, n]))
    expect(settingsProblems(schema, many)).toHaveLength(20)
  })
})

describe('a schema', () => {
  const object = (properties: Record<string, unknown>) => ({ type: 'object', properties })

  test.each([
    ['no object at the top', { type: 'string', maxLength: 3 }],
    ['an unknown type', object({ a: { type: 'null' } })],
    ['an unknown keyword', object({ a: { type: 'string', maxLength: 3, pattern: '.*' } })],
    ['a keyword of another type', object({ a: { type: 'boolean', minimum: 1 } })],
    ['a number without bounds', object({ a: { type: 'integer', minimum: 1 } })],
    ['a text without a length', object({ a: { type: 'string' } })],
    ['a list without a length', object({ a: { type: 'array', items: { type: 'boolean' } } })],
    ['a list of nothing', object({ a: { type: 'array', maxItems: 2 } })],
    ['bounds the wrong way round', object({ a: { type: 'integer', minimum: 2, maximum: 1 } })],
    ['open objects', { ...object({}), additionalProperties: true }],
    ['a required name that is not there', { ...object({}), required: ['a'] }],
    ['an empty enum', object({ a: { type: 'string', enum: [] } })],
    ['an enum of another type', object({ a: { type: 'integer', enum: ['1'] } })],
    ['a reference', { $ref: '#/definitions/a' }],
    ['a name that is none', object({ 'a.b': { type: 'boolean' } })],
  ])('with %s is refused', (_, value) => {
    expect(() => readConfigSchema(bytes(value))).toThrow(ConfigError)
  })

  test('too deep or too long is refused', () => {
    let deep: unknown = { type: 'boolean' }
    for (let level = 0; level < 10; level += 1) deep = object({ a: deep })
    expect(() => readConfigSchema(bytes(deep))).toThrow('too deep')
    const long = Object.fromEntries(
      Array.from({ length: 501 }, (_, n) => [`x${n}`, { type: 'boolean' }]),
    )
    expect(() => readConfigSchema(bytes(object(long)))).toThrow(ConfigError)
    expect(() => readConfigSchema(Buffer.alloc(20_000, 32))).toThrow('at most')
  })
})

describe('the bytes of settings', () => {
  test('are an object in its one form', () => {
    expect(readSettings(bytes(whole), { isExact: true })).toEqual(whole)
    for (const text of ['{"a":1,"a":2}', '{ "a":1}', '[]', '1', '{"a":1}\n']) {
      expect(() => readSettings(Buffer.from(text), { isExact: true })).toThrow(ConfigError)
    }
    const nested = (levels: number) =>
      Buffer.from(`{"a":${'['.repeat(levels)}${']'.repeat(levels)}}`)
    for (const isExact of [true, false]) {
      expect(() => readSettings(nested(8_000), { isExact })).toThrow(ConfigError)
      expect(() => readSettings(nested(32), { isExact })).toThrow(ConfigError)
      expect(readSettings(nested(31), { isExact })).toHaveProperty('a')
    }
    // Of a fleet, whose file a person wrote and signed.
    expect(readSettings(Buffer.from('{ "a": 1 }\n'), { isExact: false })).toEqual({ a: 1 })
  })
})
