import { oids } from '../../../pki/der/oids.ts'
import {
  ca,
  type Change,
  commonName,
  type Constraints,
  constraints,
  directory,
  dns,
  email,
  ip,
  leaf,
  type LimboCase,
  line,
  otherName,
  root,
} from './chain.ts'

const net4 = ip('c0000200ffffff00')
const host6 = `${'00'.repeat(15)}01`
const net6 = ip(`${host6}${'ff'.repeat(16)}`)
const refused = 'name-constraints'

type Names = NonNullable<Change['san']>
/** Root with constraints, and a leaf with names. */
const rooted =
  (names: Constraints, san: Names, more: Change = {}): LimboCase['build'] =>
  () =>
    line({ names }, [], { san, ...more })
/** The same with the constraints in a CA between them. */
const between =
  (names: Constraints, san: Names): LimboCase['build'] =>
  () =>
    line({}, [{ names }], { san })
const permit = (...permitted: Names): Constraints => ({ permitted })
const forbid = (...excluded: Names): Constraints => ({ excluded })
const inLeaf = (critical: boolean) => () =>
  line({}, [], {
    extensions: {
      [oids.nameConstraints]: [critical, constraints(permit(dns('example.com')))],
    },
  })

const basic: [string, LimboCase['expected'], LimboCase['build']][] = [
  ['permitted-dns-mismatch', refused, rooted(permit(dns('example.com')), [dns('not-example.com')])],
  ['excluded-dns-match', refused, between(forbid(dns('example.com')), [dns('example.com')])],
  ['permitted-dns-match', 'valid', rooted(permit(dns('example.com')), [dns('example.com')])],
  [
    'permitted-dns-match-more',
    'valid',
    rooted(permit(dns('example.com')), [dns('foo.bar.example.com')]),
  ],
  [
    'excluded-dns-match-second',
    refused,
    rooted(forbid(dns('not-allowed.example.com')), [
      dns('example.com'),
      dns('not-allowed.example.com'),
    ]),
  ],
  ['permitted-ip-mismatch', refused, rooted(permit(net4), [ip('c0000301')])],
  ['excluded-ipv4-match', refused, rooted(forbid(net4), [ip('c0000201')])],
  ['excluded-ipv6-match', refused, rooted(forbid(net6), [ip(host6)])],
  ['permitted-ipv4-match', 'valid', rooted(permit(net4), [ip('c0000201')])],
  ['permitted-ipv6-match', 'valid', rooted(permit(net6), [ip(host6)])],
  [
    'permitted-dn-mismatch',
    refused,
    rooted(permit(directory('foo')), [directory('not-foo')], { subject: commonName('not-foo') }),
  ],
  [
    'excluded-dn-match',
    refused,
    rooted(forbid(directory('foo')), [directory('foo')], { subject: commonName('foo') }),
  ],
  [
    'permitted-dn-match',
    'valid',
    rooted(permit(directory('foo')), [directory('foo')], { subject: commonName('foo') }),
  ],
  [
    'permitted-dn-match-subject-san-mismatch',
    refused,
    rooted(permit(directory('foo')), [directory('foo')], { subject: commonName('not-foo') }),
  ],
  [
    'excluded-dn-match-sub-mismatch',
    refused,
    rooted(forbid(directory('foo')), [directory('not-foo')], { subject: commonName('foo') }),
  ],
  [
    'excluded-match-permitted-and-excluded',
    refused,
    rooted({ ...permit(dns('example.com')), ...forbid(dns('example.com')) }, [dns('example.com')]),
  ],
  ['permitted-different-constraint-type', 'valid', rooted(permit(net4), [dns('example.com')])],
  ['excluded-different-constraint-type', 'valid', rooted(forbid(net4), [dns('example.com')])],
  [
    'nc-forbids-othername',
    refused,
    between({ ...permit(dns('example.com')), ...forbid(otherName) }, [
      otherName,
      dns('example.com'),
    ]),
  ],
  [
    'nc-forbids-othername-noop',
    'valid',
    between({ ...permit(dns('example.com')), ...forbid(otherName) }, [dns('example.com')]),
  ],
  [
    'nc-forbids-dnsname-wildcard-san',
    refused,
    between({ ...permit(dns('example.com')), ...forbid(dns('bar.example.com')) }, [
      dns('*.example.com'),
    ]),
  ],
]

/** Constraints and names that are no such names at all. */
const malformed: [string, LimboCase['expected'], LimboCase['build']][] = [
  [
    'invalid-dnsname-wildcard',
    refused,
    rooted(permit(dns('*.example.com')), [dns('foo.example.com')]),
  ],
  [
    'invalid-dnsname-leading-period',
    refused,
    rooted(permit(dns('.example.com')), [dns('foo.example.com')]),
  ],
  ['invalid-ipv4-address', refused, rooted(permit(ip('7f000001')), [ip('7f000001')])],
  ['invalid-ipv6-address', refused, rooted(permit(ip(host6)), [ip(host6)])],
  [
    'invalid-email-address',
    refused,
    rooted(permit(email('invalid@invalid@example.com')), [email('example@example.com')]),
  ],
  [
    'nc-permits-invalid-dns-san',
    refused,
    between(permit(dns('example.com')), [dns('.example.com')]),
  ],
  ['nc-permits-invalid-ip-san', 'malformed', between(permit(net4), [net4])],
  [
    'nc-permits-invalid-email-san',
    refused,
    between(permit(email('example.com')), [email('invalid@address@example.com')]),
  ],
  ['not-allowed-in-ee-noncritical', 'purpose', inLeaf(false)],
  ['not-allowed-in-ee-critical', 'purpose', inLeaf(true)],
]

const mailboxes: [string, LimboCase['expected'], base: string, name: string][] = [
  ['nc-permits-email-exact', 'valid', 'foo@example.com', 'foo@example.com'],
  ['nc-permits-email-domain', 'valid', 'example.com', 'foo@example.com'],
  ['nc-permits-email-literal-asterisk-exact-match', 'valid', '*@example.com', '*@example.com'],
  ['nc-permits-email-literal-asterisk-rejects-user', refused, '*@example.com', 'user@example.com'],
  [
    'nc-permits-email-literal-asterisk-rejects-subdomain',
    refused,
    '*@example.com',
    '*@subdomain.example.com',
  ],
  ['nc-permits-email-literal-double-asterisk', 'valid', '**@example.com', '**@example.com'],
  [
    'nc-permits-email-literal-double-asterisk-rejects-single',
    refused,
    '**@example.com',
    '*@example.com',
  ],
  ['nc-permits-email-literal-mid-asterisk', 'valid', 'user*@example.com', 'user*@example.com'],
]

const sub = (name: string) => dns(`${name}.example.com`)
const both = { ...permit(sub('permitted')), ...forbid(sub('forbidden')) }

/** Constraints over several levels, and self-issued certificates between them. */
const levels: [string, LimboCase['expected'], LimboCase['build']][] = [
  [
    'permitted-self-issued',
    'valid',
    () => {
      const subject = commonName('not-example.com')
      return line(
        { subject, names: permit(dns('example.com')) },
        [{ subject, san: [dns('not-example.com')] }],
        { san: [dns('example.com')] },
      )
    },
  ],
  [
    'excluded-self-issued-leaf',
    refused,
    () => {
      const subject = commonName('not-example.com')
      return line({ names: permit(dns('example.com')) }, [{ subject }], {
        subject,
        san: [dns('not-example.com')],
      })
    },
  ],
  [
    'intermediate-with-san-rejected-by-intermediate-nc',
    refused,
    () => line({}, [{ names: both }, { san: [sub('forbidden')] }], { san: [sub('permitted')] }),
  ],
  [
    'intermediate-with-san-rejected-by-root-nc',
    refused,
    () => line({ names: both }, [{}, { san: [sub('forbidden')] }], { san: [sub('permitted')] }),
  ],
  [
    'restrictive-permits-in-intermediates-narrows',
    refused,
    () =>
      line({}, [{ names: permit(sub('foo'), sub('bar')) }, { names: permit(sub('bar')) }], {
        san: [sub('foo')],
      }),
  ],
  [
    'restrictive-permits-in-intermediates-widens',
    refused,
    () =>
      line({}, [{ names: permit(sub('bar')) }, { names: permit(sub('foo'), sub('bar')) }], {
        san: [sub('foo')],
      }),
  ],
  [
    'nc-forbids-alternate-chain-ica',
    'valid',
    () => {
      const anchor = root()
      const above = ca(anchor, { names: both })
      const within = ca(above, { subject: commonName('an-intermediate') })
      const end = leaf(within, { subject: commonName('permitted'), san: [sub('permitted')] })
      return { chain: [end, within, above], anchors: [anchor] }
    },
  ],
  [
    'nc-forbids-same-chain-ica',
    'valid',
    () => {
      // The way that is free of constraints, beside one with the same CA name and key that is not.
      const [bound, free] = [root(), root()]
      const above = ca(bound, { names: forbid(sub('forbidden')) })
      const subject = commonName('an-intermediate')
      const other = ca(above, { subject, san: [sub('forbidden')] })
      const within = ca(free, { subject, san: [sub('unconstrained-ica')], key: other.key })
      return {
        chain: [leaf(within, { san: [sub('unconstrained')] }), within],
        anchors: [bound, free],
      }
    },
  ],
]

export const constraintCases: LimboCase[] = [
  ...[...basic, ...malformed, ...levels].map(([id, expected, build]) => ({ id, expected, build })),
  ...mailboxes.map(([id, expected, base, name]) => ({
    id,
    expected,
    build: between(permit(email(base)), [email(name)]),
  })),
  {
    id: 'permitted-dns-match-noncritical',
    expected: 'valid' as const,
    build: rooted({ ...permit(dns('example.com')), critical: false }, [dns('example.com')]),
    why: 'A duty of the issuer. The constraints bind whether they are marked critical or not.',
  },
].map((one) => ({ ...one, id: `rfc5280::nc::${one.id}` }))
