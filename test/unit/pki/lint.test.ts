import { beforeAll, expect, test } from 'vitest'

import { oids } from '../../../pki/der/oids.ts'
import {
  nullValue,
  oid,
  printableString,
  sequence,
  setOf,
  utf8String,
} from '../../../pki/der/writer.ts'
import { generatePrivateKey, spkiOf } from '../../../pki/keys.ts'
import { encodeName } from '../../../pki/names.ts'
import { encodeExtension } from '../../../pki/x509/extension-writer.ts'
import { lintTbs } from '../../../pki/x509/lint.ts'
import type { ProfileName, TbsInput } from '../../../pki/x509/profiles.ts'
import { buildTbs } from '../../../pki/x509/profiles.ts'
import type { Authority } from '../../support/pki-fixture.ts'
import {
  daysFrom,
  deviceInput,
  issue,
  issuedBy,
  makeIssuer,
  makeRoot,
  now,
  rawExtensions,
  rawTbs,
  serverInput,
} from '../../support/pki-fixture.ts'

let root: Authority
let issuer: Authority
const spki = spkiOf(generatePrivateKey('P-256'))

beforeAll(async () => {
  root = await makeRoot()
  issuer = await makeIssuer(root)
})

test('P7 what the profiles build has no findings', () => {
  expect(lintTbs(root.certificate.tbs, 'root')).toEqual([])
  expect(lintTbs(issuer.certificate.tbs, 'issuing', root.certificate)).toEqual([])
  const device = buildTbs('device', deviceInput(issuer, spki))
  expect(lintTbs(device, 'device', issuer.certificate)).toEqual([])
  const server = buildTbs('server', serverInput(issuer, spki))
  expect(lintTbs(server, 'server', issuer.certificate)).toEqual([])
  const nameless = buildTbs('device', { ...deviceInput(issuer, spki), subject: encodeName({}) })
  expect(lintTbs(nameless, 'device', issuer.certificate)).toEqual([])
})

function lintDevice(change: Partial<TbsInput>, profile: ProfileName = 'device'): string {
  const input = profile === 'server' ? serverInput(issuer, spki) : deviceInput(issuer, spki)
  return lintTbs(buildTbs(profile, { ...input, ...change }), profile, issuer.certificate).join()
}

const uri = (value: string) => [{ type: 'uri', value }] as const
const dns = (value: string) => [{ type: 'dns', value }] as const
const named = (...values: Buffer[]) =>
  sequence(...values.map((value) => setOf(sequence(oid(oids.commonName), value))))

test.each<[name: string, change: () => Partial<TbsInput>, finding: RegExp]>([
  ['P2 outliving the issuer', () => ({ notAfter: daysFrom(now, 3000) }), /outlives/],
  ['P2 too long a validity', () => ({ notAfter: daysFrom(now, 399) }), /398 days/],
  [
    'P4 another key identifier',
    () => ({ issuer: { name: issuer.certificate.subject, keyId: Buffer.alloc(20) } }),
    /authority key/,
  ],
  [
    'P11 another issuer name',
    () => ({ issuer: { ...issuedBy(issuer).issuer, name: root.certificate.subject } }),
    /issuer name/,
  ],
  [
    'P8 an algorithm of another key',
    () => ({ signatureAlgorithm: Buffer.from('300506032b6570', 'hex') }),
    /does not fit/,
  ],
  [
    'an algorithm off the list',
    () => ({ signatureAlgorithm: Buffer.from('300a06082a8648ce3d040301', 'hex') }),
    /not allowed/,
  ],
  ["C16 the issuer's key", () => ({ spki: issuer.signer.spki }), /issuer's own/],
  ["the issuer's name", () => ({ subject: issuer.certificate.subject }), /subject is the issuer/],
  ['C11 a DNS name on a device', () => ({ san: dns('example.com') }), /not exactly one URI/],
  [
    'C11 two identities',
    () => ({ san: [...uri('urn:a:b'), ...uri('urn:a:c')] }),
    /not exactly one URI/,
  ],
  ['C14 a space in the identity', () => ({ san: uri('urn:a:b c') }), /not a URI/],
  ['C14 no scheme in the identity', () => ({ san: uri('abc') }), /not a URI/],
  [
    'C14 a common name of 65 characters',
    () => ({ subject: named(utf8String('x'.repeat(65))) }),
    /too long/,
  ],
  ['C14 NUL in the common name', () => ({ subject: named(utf8String('a\0b')) }), /control/],
  ['two common names', () => ({ subject: named(utf8String('a'), utf8String('b')) }), /twice/],
  [
    'another attribute',
    () => ({ subject: sequence(setOf(sequence(oid('2.5.4.6'), printableString('DE')))) }),
    /2\.5\.4\.6 is not/,
  ],
  ['a CRL by ldap', () => ({ crlUrl: 'ldap://localhost/x' }), /HTTP URL/],
  ['an issuer by file', () => ({ aiaUrl: 'file:///x' }), /HTTP URL/],
])('a device certificate is not signed: %s', (_, change, finding) => {
  expect(lintDevice(change())).toMatch(finding)
})

test.each([
  ['*.example.com', false],
  ['a..b', false],
  ['-a.example.com', false],
  ['example.com.', false],
  ['a b', false],
  [`${'x'.repeat(64)}.com`, false],
  ['gateway-1.Example.com', true],
  ['localhost', true],
])('C14 host name %s', (host, isGood) => {
  const findings = lintDevice({ san: dns(host) }, 'server')
  expect(findings === '').toBe(isGood)
})

test('a server certificate has no URI and lives at most 90 days', () => {
  expect(lintDevice({ san: uri('urn:a:b') }, 'server')).toMatch(/uri name/)
  expect(lintDevice({ notAfter: daysFrom(now, 91) }, 'server')).toMatch(/90 days/)
})

test('bytes that were not built by the profile', () => {
  const findings = (extensions: Buffer[]) =>
    lintTbs(rawTbs(issuer, { extensions }), 'device', issuer.certificate).join()
  const all = rawExtensions(issuer)
  expect(findings(all)).toMatch(/Extension 2\.5\.29\.17 is missing/)
  expect(findings([...all, encodeExtension('1.2.3', false, nullValue())])).toMatch(
    /1\.2\.3 is not in/,
  )
  const uncritical = encodeExtension(oids.keyUsage, false, Buffer.from('03020780', 'hex'))
  expect(findings([uncritical])).toMatch(/2\.5\.29\.15 has wrong criticality/)
  const ca = encodeExtension(oids.basicConstraints, true, Buffer.from('30030101ff', 'hex'))
  expect(findings([ca])).toMatch(/2\.5\.29\.19 differs/)
  const certSign = encodeExtension(oids.keyUsage, true, Buffer.from('03020284', 'hex'))
  expect(findings([certSign])).toMatch(/2\.5\.29\.15 differs/)
  const server = encodeExtension(oids.extKeyUsage, false, sequence(oid(oids.serverAuth)))
  expect(findings([server])).toMatch(/2\.5\.29\.37 differs/)
})

test('P10 what does not parse is a finding, not an exception', () => {
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(100, 0x30), Buffer.alloc(70_000)]) {
    expect(lintTbs(bytes, 'device', issuer.certificate)).toHaveLength(1)
  }
  const twice = [...rawExtensions(issuer), ...rawExtensions(issuer)]
  expect(
    lintTbs(rawTbs(issuer, { extensions: twice }), 'device', issuer.certificate).join(),
  ).toMatch(/appears twice/)
  const weak = { ...deviceInput(issuer, spki), spki: spkiOf(generatePrivateKey('P-256')) }
  const tbs = buildTbs('device', weak)
  const compressed = Buffer.from(tbs)
  compressed[tbs.indexOf(weak.spki) + 26] = 0x06
  expect(lintTbs(compressed, 'device', issuer.certificate).join()).toMatch(/uncompressed/)
})

test('the issuer has to be a CA that may issue this', async () => {
  const leaf = await issue('device', issuer, deviceInput(issuer, spki))
  const below = buildTbs('device', {
    ...deviceInput(issuer, spkiOf(generatePrivateKey('P-256'))),
    issuer: { name: leaf.subject, keyId: leaf.subjectKeyId ?? Buffer.alloc(20) },
  })
  expect(lintTbs(below, 'device', leaf).join()).toMatch(/may not issue certificates/)
  const subordinate = buildTbs('issuing', {
    ...issuedBy(issuer),
    subject: encodeName({ commonName: 'Sub' }),
    spki,
    notBefore: now,
    notAfter: daysFrom(now, 100),
  })
  expect(lintTbs(subordinate, 'issuing', issuer.certificate).join()).toMatch(/issue to a CA/)
  expect(lintTbs(below, 'device').join()).toMatch(/issuer is not known/)
})

test('P11 an issuer bound to a tenant issues within its name, URN identity included', async () => {
  const tenant = await makeIssuer(root, { permittedNames: [encodeName({ organization: 'Test' })] })
  expect(lintTbs(tenant.certificate.tbs, 'issuing', root.certificate)).toEqual([])
  const inside = buildTbs('device', deviceInput(tenant, spki))
  expect(lintTbs(inside, 'device', tenant.certificate)).toEqual([])
  const outside = buildTbs('device', {
    ...deviceInput(tenant, spki),
    subject: encodeName({ organization: 'Other', commonName: 'Pump' }),
  })
  expect(lintTbs(outside, 'device', tenant.certificate).join()).toMatch(/not permitted/)
})

test('a root names itself', () => {
  const tbs = rawTbs(root, { extensions: rawExtensions(root) })
  expect(lintTbs(tbs, 'root').join()).toMatch(/names another issuer/)
  expect(lintTbs(root.certificate.tbs, 'root', root.certificate).join()).toMatch(/no issuer/)
})
