import fc from 'fast-check'

/** Queries about the devices of test/integration/device-query.test.ts, most of which find some and not all of them. */

const quote = (text: string) => `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`
const equality = fc.constantFrom('=', '!=')
const order = fc.constantFrom('<', '<=', '>', '>=')

function texts(field: string, values: readonly string[]): fc.Arbitrary<string> {
  const value = fc.constantFrom(...values).map(quote)
  const some = fc.array(value, { minLength: 1, maxLength: 3 })
  return fc.oneof(
    fc.tuple(equality, value).map(([sign, one]) => `${field} ${sign} ${one}`),
    fc
      .tuple(fc.constantFrom('in', 'not in'), some)
      .map(([word, list]) => `${field} ${word} (${list.join(', ')})`),
    fc.constantFrom(`${field} exists`, `${field} not exists`),
  )
}

function likes(field: string, patterns: readonly string[]): fc.Arbitrary<string> {
  return fc
    .tuple(fc.constantFrom('like', 'not like'), fc.constantFrom(...patterns))
    .map(([word, pattern]) => `${field} ${word} ${quote(pattern)}`)
}

const durations = fc.constantFrom('0s', '59s', '60s', '1h', '1d', '7d', '1w', '30d', '5000d')
const instants = fc.constantFrom(
  '"2026-11-26"',
  '"2026-11-26T12:00:00Z"',
  '"2026-11-25T12:00:00.000Z"',
)

const attribute = fc
  .constantFrom('region', 'floor', '"we ird"', '__proto__', 'constructor')
  .map((key) => `attributes.${key}`)
const attributeValue = fc.constantFrom(
  '"eu"',
  '"7"',
  '7',
  '-7',
  '0',
  '1.5',
  '0.1',
  'true',
  'false',
  '"E%U"',
)

const comparison: fc.Arbitrary<string> = fc.oneof(
  texts('name', ['gate', 'Gate', 'g_te', String.raw`g\te`, 'ten"quotes', "o'clock", 'nobody']),
  likes('name', [
    'g*',
    '*te',
    'g?te',
    'g_*',
    'g%*',
    '*a*',
    '*',
    'ga*te',
    '☃*',
    '*e*e*',
    'gate',
    '',
  ]),
  texts('model', ['cam-1', 'cam-2', 'CAM-1', 'cam']),
  texts('state', ['active', 'revoked', 'registered']),
  texts('agent', ['sim/1.0', '']),
  likes('agent', ['sim/*', '*1', '*']),
  texts('serialNumber', ['SN-1', 'SN-50', 'SN-']),
  texts('enrollmentProfile', ['line-a', 'line-b']),
  texts('group', ['lab', 'field', 'none']),
  likes('group', ['l*', '*e*']),
  texts('hardwareIds', ['r1', 'r2', 'R1']),
  likes('hardwareIds', ['r*', 'r_', '*1']),
  fc.constantFrom('id = "0192F3C4-7d1e-7c3a-9b5e-000000000007"', 'id exists'),
  fc
    .tuple(
      fc.constantFrom('connected', 'updateOptOut', 'managed'),
      fc.constantFrom('', ' = true', ' = false', ' != true', ' != false'),
    )
    .map((parts) => parts.join('')),
  fc
    .tuple(
      fc.constantFrom('lastSeen', 'created', 'certificate.expires'),
      order,
      fc.oneof(durations, instants),
    )
    .map((parts) => parts.join(' ')),
  fc.constantFrom('lastSeen exists', 'certificate.expires not exists'),
  fc.tuple(attribute, equality, attributeValue).map((parts) => parts.join(' ')),
  fc
    .tuple(attribute, order, fc.constantFrom('7', '0', '-7', '1.5', '0.1', '1000000'))
    .map((parts) => parts.join(' ')),
  fc
    .tuple(
      attribute,
      fc.constantFrom('exists', 'not exists', 'like "*e*"', 'like "E%*"', 'not in ("eu", 7, true)'),
    )
    .map((parts) => parts.join(' ')),
  fc
    .tuple(
      fc.constantFrom('app', 'radio', 'boot-loader', 'none'),
      order,
      fc.constantFrom('2.4.0', '2.4', '2.4.0-rc1', '2.10', 'v2', '10', '2.4.0.1'),
    )
    .map(([component, sign, version]) => `installed.${component} ${sign} ${quote(version)}`),
  texts('installed.app', ['2.4.0', '2.4', 'nightly', '']),
  likes('installed.radio', ['2.*', '*rc*']),
  fc
    .tuple(
      fc.constantFrom('app', 'radio'),
      fc.constantFrom('build', 'svn'),
      fc.oneof(order, equality),
      fc.constantFrom('0', '1', '7', '1099511627776'),
    )
    .map(([component, of, sign, value]) => `installed.${component}.${of} ${sign} ${value}`),
)

const { query } = fc.letrec<{ query: string }>((tie) => ({
  query: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    comparison,
    fc
      .tuple(tie('query'), fc.constantFrom('and', 'or'), tie('query'))
      .map((parts) => `(${parts.join(' ')})`),
    fc
      .tuple(tie('query'), fc.constantFrom('and', 'or'), tie('query'))
      .map((parts) => parts.join(' ')),
    tie('query').map((one) => `not (${one})`),
  ),
}))

export const queries = query
