import { oids } from '../../../pki/der/oids.ts'
import { contextPrimitive, integer, nullValue, oid, sequence } from '../../../pki/der/writer.ts'
import { encodeExtension } from '../../../pki/x509/extension-writer.ts'
import { encodeGeneralName } from '../../../pki/x509/general-names.ts'
import { daysFrom, now } from '../pki-fixture.ts'
import {
  ca,
  caConstraints,
  type Change,
  dns,
  leaf,
  type LimboCase,
  line,
  names,
  root,
} from './chain.ts'

type Row = [id: string, expected: LimboCase['expected'], build: LimboCase['build'], why?: string]

const unknown = '1.3.6.1.4.1.55738.666.1'
const stranger: Change = { extensions: { [unknown]: [true, nullValue()] } }
const empty = sequence()
const digitalSignature = Buffer.from('03020780', 'hex')
const sha384Algorithm = Buffer.from('300a06082a8648ce3d040303', 'hex')
const aia = (isCritical: boolean): Change => {
  const location = encodeGeneralName({ type: 'uri', value: 'http://example.com/ca.cer' })
  const value = sequence(sequence(oid(oids.caIssuers), location))
  return { extensions: { [oids.authorityInfoAccess]: [isCritical, value] } }
}

const issuerDuty =
  'A duty of the issuer that changes no decision of ours (RFC 5280 §6 has no such step).'
const without = (type: string): Change => ({ extensions: { [type]: undefined } })
const critical = (type: string, value: Buffer): Change => ({
  extensions: { [type]: [true, value] },
})

const general: Row[] = [
  ['ee-empty-issuer', 'malformed', () => line({ subject: empty }, [])],
  ['ca-empty-subject', 'malformed', () => line({}, [{ subject: empty }])],
  ['unknown-critical-extension-ee', 'critical-extension', () => line({}, [], stranger)],
  ['unknown-critical-extension-root', 'critical-extension', () => line(stranger, [])],
  ['unknown-critical-extension-intermediate', 'critical-extension', () => line({}, [stranger])],
  [
    'unknown-critical-extension-unrelated-root',
    'valid',
    () => {
      const chain = line({}, [])
      return { ...chain, anchors: [...chain.anchors, root(stranger)] }
    },
  ],
  // There is no pool of intermediates: whoever shows a chain shows one.
  ['unknown-critical-extension-unrelated-intermediate', 'valid', () => line({}, [{}])],
  ['chain-untrusted-root', 'no-anchor', () => ({ ...line({}, [{}]), anchors: [root()] })],
  [
    'intermediate-ca-without-ca-bit',
    'not-a-ca',
    () => line({}, [{ extensions: { [oids.basicConstraints]: [true, empty] } }]),
  ],
  [
    'intermediate-ca-missing-basic-constraints',
    'not-a-ca',
    () => line({}, [without(oids.basicConstraints)]),
  ],
  ['root-missing-basic-constraints', 'not-a-ca', () => line(without(oids.basicConstraints), [])],
  [
    'root-non-critical-basic-constraints',
    'valid',
    () => line({ extensions: { [oids.basicConstraints]: [false, caConstraints()] } }, []),
    'NIST PKITS 4.6.4 wants it accepted; the constraint binds all the same.',
  ],
  [
    'root-inconsistent-ca-extensions',
    'not-a-ca',
    () => line({ extensions: { [oids.keyUsage]: [true, digitalSignature] } }, []),
  ],
  [
    'ica-ku-keycertsign',
    'not-a-ca',
    () => line({}, [{ pathLength: 0, extensions: { [oids.keyUsage]: [true, digitalSignature] } }]),
  ],
  [
    'leaf-ku-keycertsign',
    'purpose',
    () => line({}, [], { extensions: { [oids.keyUsage]: [true, Buffer.from('03020284', 'hex')] } }),
  ],
  ['ee-aia', 'valid', () => line({}, [], aia(false))],
  ['ee-critical-aia-invalid', 'critical-extension', () => line({}, [], aia(true))],
  [
    'duplicate-extensions',
    'malformed',
    () =>
      line({}, [], {
        more: [encodeExtension(oids.subjectAltName, false, names([dns('example.com')]))],
      }),
  ],
  ['no-keyusage', 'valid', () => line({}, [], without(oids.keyUsage))],
  ['no-basicconstraints', 'valid', () => line({}, [], without(oids.basicConstraints))],
  [
    'mismatching-signature-algorithm',
    'malformed',
    () => line({ innerAlgorithm: sha384Algorithm }, []),
  ],
  [
    'ca-as-leaf',
    'purpose',
    () => {
      const anchor = root()
      return { chain: [ca(anchor, { san: [dns('example.com')] })], anchors: [anchor] }
    },
    'Stricter: a CA is no device and signs no update, whatever the RFC leaves open (A9).',
  ],
  [
    'ca-as-leaf-wrong-san',
    'purpose',
    () => {
      const anchor = root()
      return { chain: [ca(anchor, { san: [dns('wrong.example.com')] })], anchors: [anchor] }
    },
  ],
  [
    'root-and-intermediate-swapped',
    'valid',
    () => {
      const anchor = ca(root())
      return { chain: [leaf(anchor), anchor], anchors: [anchor] }
    },
  ],
]

const keyIds: Row[] = [
  [
    'aki::critical-aki',
    'critical-extension',
    () => {
      const keyId = sequence(contextPrimitive(0, Buffer.alloc(20, 1)))
      return line(critical(oids.authorityKeyIdentifier, keyId), [])
    },
  ],
  [
    'aki::leaf-missing-aki',
    'valid',
    () => line({}, [], without(oids.authorityKeyIdentifier)),
    issuerDuty,
  ],
  [
    'aki::intermediate-missing-aki',
    'valid',
    () => line({}, [without(oids.authorityKeyIdentifier)]),
    issuerDuty,
  ],
  ['aki::self-signed-root-missing-aki', 'valid', () => line({}, [])],
  [
    'aki::cross-signed-root-missing-aki',
    'valid',
    () => {
      const anchor = ca(root(), without(oids.authorityKeyIdentifier))
      return { chain: [leaf(anchor)], anchors: [anchor] }
    },
    issuerDuty,
  ],
  [
    'ski::critical-ski',
    'critical-extension',
    () => line(critical(oids.subjectKeyIdentifier, Buffer.from('04020102', 'hex')), []),
  ],
  [
    'ski::root-missing-ski',
    'valid',
    () => line(without(oids.subjectKeyIdentifier), []),
    issuerDuty,
  ],
  [
    'ski::intermediate-missing-ski',
    'valid',
    () => line({}, [without(oids.subjectKeyIdentifier)]),
    issuerDuty,
  ],
]

const usage = (...purposes: string[]): Change => ({
  extensions: { [oids.extKeyUsage]: [false, sequence(...purposes.map(oid))] },
})

const rest: Row[] = [
  ['eku::ee-wrong-eku', 'purpose', () => line({}, [], usage(oids.serverAuth))],
  ['eku::ee-without-eku', 'valid', () => line({}, [], without(oids.extKeyUsage))],
  ['eku::ee-eku-empty', 'malformed', () => line({}, [], usage())],
  [
    'pc::ica-noncritical-pc',
    'valid',
    () =>
      line({}, [
        {
          extensions: {
            [oids.policyConstraints]: [false, sequence(contextPrimitive(0, Buffer.from([9])))],
          },
        },
      ]),
    'A duty of the issuer. The constraint binds whether it is marked critical or not.',
  ],
  [
    'san::malformed',
    'malformed',
    () =>
      line({}, [], { extensions: { [oids.subjectAltName]: [false, Buffer.from('example.com')] } }),
  ],
  [
    'san::noncritical-with-empty-subject',
    'valid',
    () =>
      line({}, [], {
        subject: empty,
        extensions: { [oids.subjectAltName]: [false, names([dns('example.com')])] },
      }),
    issuerDuty,
  ],
  [
    'san::underscore-dns',
    'valid',
    () => line({}, [], { san: [dns('not_a_host.example.com')] }),
    'Hosts are not looked up by these names; no name constraint lets it in that would not let in others.',
  ],
  [
    'san::ip-in-dns',
    'valid',
    () => line({}, [], { san: [dns('127.0.0.1')] }),
    'A dNSName is compared with dNSNames only, so that it stands for no address.',
  ],
  ['serial::too-long', 'malformed', () => line({}, [], { serial: integer(Buffer.alloc(21, 1)) })],
  ['serial::zero', 'malformed', () => line({}, [], { serial: Buffer.from('020100', 'hex') })],
  ['serial::negative', 'malformed', () => line({}, [], { serial: Buffer.from('0201ff', 'hex') })],
]

const day = 86_400_000
const early = new Date(now.getTime() - 10 * day)
const over: Change = { notBefore: daysFrom(now, -20), notAfter: early }
const plus = (ms: number) => new Date(now.getTime() + ms)
const begins: Change = { notBefore: now }
const ends: Change = { notAfter: now }

const validity: Row[] = [
  ['expired-root', 'expired', () => line(over, [{}])],
  ['expired-intermediate', 'expired', () => line({}, [over])],
  ['expired-leaf', 'expired', () => line({}, [{}], over)],
  ['notbefore-exact', 'valid', () => ({ ...line({}, [{}], begins), at: now })],
  ['notbefore-fractional', 'not-yet-valid', () => ({ ...line({}, [{}], begins), at: plus(-1) })],
  ['notafter-exact', 'valid', () => ({ ...line({}, [{}], ends), at: now })],
  [
    'notafter-fractional',
    'expired',
    () => ({ ...line({}, [{}], ends), at: plus(5) }),
    'Ambiguous by its own description; what is over by 5 ms is over.',
  ],
  ['expired-1-second', 'expired', () => ({ ...line({}, [{}], ends), at: plus(1000) })],
  ['expired-5-seconds', 'expired', () => ({ ...line({}, [{}], ends), at: plus(5000) })],
  [
    'not-yet-valid-1-second',
    'not-yet-valid',
    () => ({ ...line({}, [{}], begins), at: plus(-1000) }),
  ],
  [
    'not-yet-valid-5-seconds',
    'not-yet-valid',
    () => ({ ...line({}, [{}], begins), at: plus(-5000) }),
  ],
]

export const rfc5280Cases: LimboCase[] = [
  ...general,
  ...keyIds,
  ...rest,
  ...validity.map(([id, ...row]): Row => [`validity::${id}`, ...row]),
].map(([id, expected, build, why]) => ({
  id: `rfc5280::${id}`,
  expected,
  build,
  ...(why !== undefined && { why }),
}))
