import { generatePrivateKey } from '../../../pki/keys.ts'
import { encodeName } from '../../../pki/names.ts'
import { daysFrom, now } from '../pki-fixture.ts'
import {
  ca,
  type Chain,
  type Change,
  commonName,
  dns,
  leaf,
  type LimboCase,
  line,
  type Made,
  root,
} from './chain.ts'

type Row = [id: string, expected: LimboCase['expected'], build: LimboCase['build'], why?: string]

const length = (pathLength: number): Change => ({ pathLength })
const lengths =
  (...pathLengths: number[]): LimboCase['build'] =>
  () =>
    line({}, pathLengths.map(length))

const noLimit = 'There is no such option: a chain has at most 10 certificates, whoever asks.'

const pathLengths: Row[] = [
  ['ee-with-intermediate-pathlen-0', 'valid', lengths(0)],
  ['ee-with-intermediate-pathlen-1', 'valid', lengths(1)],
  ['ee-with-intermediate-pathlen-2', 'valid', lengths(2)],
  [
    'validation-ignores-pathlen-in-leaf',
    'purpose',
    () => {
      const anchor = root()
      const above = ca(anchor, length(0))
      return { chain: [ca(above, length(0)), above], anchors: [anchor] }
    },
    'Stricter: a CA is no leaf (A9); limbo only says that the path length does not refuse it.',
  ],
  ['intermediate-violates-pathlen-0', 'path-length', lengths(0, 0)],
  ['intermediate-pathlen-may-increase', 'valid', lengths(1, 2)],
  ['intermediate-pathlen-too-long', 'path-length', lengths(1, 0, 0)],
  [
    'self-issued-certs-pathlen',
    'valid',
    () => {
      const subject = commonName('ICA')
      return line({}, [{ subject, pathLength: 1 }, { subject, pathLength: 1 }, { pathLength: 0 }])
    },
  ],
  ['max-chain-depth-0', 'valid', () => line({}, [])],
  ['max-chain-depth-0-exhausted', 'valid', () => line({}, [{}]), noLimit],
  ['max-chain-depth-1', 'valid', () => line({}, [{}])],
  ['max-chain-depth-1-exhausted', 'valid', () => line({}, [{}, {}]), noLimit],
  [
    'max-chain-depth-1-self-issued',
    'valid',
    () => {
      const subject = commonName('ICA')
      return line({}, [{ subject }, { subject }])
    },
  ],
]

/** A chain of 100 CAs of which none is trusted. */
function unrooted({ sameSubject = false, sameKey = false }): Chain {
  const key = sameKey ? generatePrivateKey('P-256') : undefined
  const change = (index: number): Change => ({
    subject: commonName(sameSubject ? 'Pathological CA' : `Pathological CA ${index}`),
    ...(key && { key }),
  })
  const down = [root(change(0))]
  for (let index = 1; index < 100; index += 1) {
    const by = down.at(-1)
    if (by) down.push(ca(by, change(index)))
  }
  const [first = root()] = down
  return { chain: [leaf(down.at(-1) ?? first), ...down.toReversed()], anchors: [root()] }
}

/** Two CAs that sign for each other. */
function cycle(sameName: boolean): Chain {
  const [a, b] = [generatePrivateKey('P-256'), generatePrivateKey('P-256')]
  const [nameA, nameB] = [commonName('ICA'), commonName(sameName ? 'ICA' : 'ICA 2')]
  const byB: Made = { der: Buffer.alloc(0), key: b, subject: nameB }
  const first = ca(byB, { key: a, subject: nameA })
  const second = ca(first, { key: b, subject: nameB })
  return { chain: [leaf(second), second, first, second, first], anchors: [root()] }
}

const tests = (count: number, prefix: string) =>
  Array.from({ length: count }, (_, index) => dns(`${prefix}${index}.test`))
const constrained: Change = {
  names: { permitted: [...tests(512, 't'), dns('test')], excluded: tests(511, 'x') },
}
const manyMails = Buffer.concat(
  Array.from({ length: 2048 }, (_, index) =>
    encodeName({ commonName: `t${index}@test` }).subarray(2),
  ),
)
const manySubjects = Buffer.concat([
  Buffer.from([
    0x30,
    0x83,
    manyMails.length >> 16,
    (manyMails.length >> 8) & 255,
    manyMails.length & 255,
  ]),
  manyMails,
])

const pathological: Row[] = [
  [
    'multiple-chains-expired-intermediate',
    'valid',
    () => {
      const [first, second] = [root(), root()]
      // The cross certificate that ran out stands in nobody's way.
      ca(second, {
        key: first.key,
        subject: first.subject,
        notAfter: daysFrom(now, -1),
        notBefore: daysFrom(now, -2),
      })
      return { chain: [leaf(first)], anchors: [first, second] }
    },
  ],
  ['intermediate-cycle-distinct-cas', 'no-anchor', () => cycle(false)],
  [
    'intermediate-cycle-distinct-cas-max-depth',
    'too-long',
    () => {
      const { chain, anchors } = cycle(false)
      return { chain: [...chain, ...chain.slice(1), ...chain.slice(1)], anchors }
    },
  ],
  ['intermediate-cycle-same-logical-ca', 'no-anchor', () => cycle(true)],
  [
    'nc-dos-1',
    'malformed',
    () => line(constrained, [], { subject: manySubjects, san: tests(2048, 't') }),
  ],
  [
    'nc-dos-2',
    'malformed',
    () => line(constrained, [], { subject: encodeName({}), san: tests(2048, 't') }),
  ],
  ['nc-dos-3', 'malformed', () => line(constrained, [], { subject: manySubjects })],
  ['pathological-chain-distinct-subject-distinct-key', 'too-long', () => unrooted({})],
  [
    'pathological-chain-same-subject-distinct-key',
    'too-long',
    () => unrooted({ sameSubject: true }),
  ],
  ['pathological-chain-distinct-subject-same-key', 'too-long', () => unrooted({ sameKey: true })],
  [
    'pathological-chain-same-subject-same-key',
    'too-long',
    () => unrooted({ sameSubject: true, sameKey: true }),
  ],
]

const wildcard = { san: [dns('*.example.com')] }
const cves: Row[] = [
  [
    'cve-2024-0567',
    'valid',
    () => {
      // A, B and C sign for each other; the way from A1 to A is one certificate long.
      const subject = commonName('Root A')
      const anchor = root({ subject })
      const b = ca(anchor, { subject: commonName('Root B') })
      ca(b, { subject, key: anchor.key })
      const a1 = ca(anchor)
      return { chain: [leaf(a1), a1], anchors: [anchor] }
    },
  ],
  [
    'cve-2025-61727',
    'name-constraints',
    () => {
      const names = { permitted: [dns('example.com')], excluded: [dns('bar.example.com')] }
      return line({}, [{ names }], wildcard)
    },
  ],
  [
    'cve-2025-61727-nc-permits-variant',
    'name-constraints',
    () => line({}, [{ names: { permitted: [dns('foo.example.com')] } }], wildcard),
  ],
]

const family = (name: string, rows: readonly Row[]): LimboCase[] =>
  rows.map(([id, expected, build, why]) => ({
    id: `${name}::${id}`,
    expected,
    build,
    ...(why !== undefined && { why }),
  }))

export const pathCases: LimboCase[] = [
  ...family('pathlen', pathLengths),
  ...family('pathological', pathological),
  ...family('cve', cves),
]
