import { beforeAll, expect, test } from 'vitest'

import { keyFamilyIn } from '../../../pki/keys.ts'
import type { KeyAlgorithm } from '../../../pki/keys.ts'
import { generatePrivateKey, keyIdentifier, spkiOf } from '../../../pki/keys.ts'
import { encodeName } from '../../../pki/names.ts'
import { validatePath } from '../../../pki/path-validate.ts'
import type { LintPolicy } from '../../../pki/x509/lint.ts'
import { lintTbs } from '../../../pki/x509/lint.ts'
import { hardwareModuleName, readHardwareModule } from '../../../pki/x509/module-names.ts'
import { parseTbs } from '../../../pki/x509/parse.ts'
import type { TbsInput } from '../../../pki/x509/profiles.ts'
import { buildTbs, claimIdentity, noExpiry, profiles } from '../../../pki/x509/profiles.ts'
import type { Authority } from '../../support/pki-fixture.ts'
import {
  daysFrom,
  deviceId,
  expectRefusal,
  issue,
  makeIssuer,
  makeRoot,
  now,
} from '../../support/pki-fixture.ts'
import type { LeafProfile } from '../../support/profile-inputs.ts'
import { hardwareModule, leafInput, leafProfiles, ocspUrl } from '../../support/profile-inputs.ts'

let root: Authority
let issuer: Authority
const keys = new Map<KeyAlgorithm, Buffer>()

beforeAll(async () => {
  root = await makeRoot()
  issuer = await makeIssuer(root)
})

function spkiFor(algorithm: KeyAlgorithm): Buffer {
  const spki = keys.get(algorithm) ?? spkiOf(generatePrivateKey(algorithm))
  keys.set(algorithm, spki)
  return spki
}

const usualKey = (profile: LeafProfile) => spkiFor(profile === 'scep-ra' ? 'RSA-2048' : 'P-256')

function build(profile: LeafProfile, change: Partial<TbsInput> = {}): Buffer {
  return buildTbs(profile, { ...leafInput(profile, issuer, usualKey(profile)), ...change })
}

function lint(profile: LeafProfile, change: Partial<TbsInput> = {}, policy?: LintPolicy): string {
  return lintTbs(build(profile, change), profile, issuer.certificate, policy).join()
}

test.each(leafProfiles)('P7 what profile %s builds has no findings', (profile) => {
  expect(lint(profile)).toBe('')
})

const crl =
  '2.5.29.31 30273025a023a021861f687474703a2f2f6c6f63616c686f73743a383038302f63726c2f312e63726c'
const issuerUrl = '687474703a2f2f6c6f63616c686f73743a383038302f63612f312e636572'
const ocspUrlHex = '687474703a2f2f6c6f63616c686f73743a383038302f6f6373702f31'
const access = `1.3.6.1.5.5.7.1.1 3056302806082b06010505073001861c${ocspUrlHex}302a06082b06010505073002861e${issuerUrl}`
const head = ['2.5.29.19! 3000', '2.5.29.15! 03020780']
const keyIds = ['2.5.29.14', '2.5.29.35']
const uuidHex = '35663063396136652d306235642d346336332d396433612d303132333435363738396162'
const goldenExtensions: Readonly<Record<LeafProfile, readonly string[]>> = {
  server: [
    ...head,
    '2.5.29.37 301406082b0601050507030106082b0601050507031c',
    ...keyIds,
    '2.5.29.17 301182096c6f63616c686f737487047f000001',
    crl,
    access,
  ],
  device: [
    ...head,
    '2.5.29.37 300a06082b06010505070302',
    ...keyIds,
    `2.5.29.17 302f862d75726e3a757569643a${uuidHex}`,
    crl,
    access,
  ],
  claim: [
    ...head,
    '2.5.29.37 300a06082b06010505070302',
    ...keyIds,
    `2.5.29.17 303a863875726e3a666c6565747365616c3a636c61696d3a${uuidHex}`,
    crl,
    access,
  ],
  idevid: [
    ...head,
    ...keyIds,
    '2.5.29.17 3021a01f06082b06010505070804a013301106092b0601040183b203010404534e2d37',
    crl,
    access,
  ],
  'ocsp-responder': [
    ...head,
    '2.5.29.37 300a06082b06010505070309',
    ...keyIds,
    '1.3.6.1.5.5.7.48.1.5 0500',
  ],
  'metadata-signer': [...head, '2.5.29.37 300a06082b06010505070303', ...keyIds, crl, access],
  'scep-ra': ['2.5.29.19! 3000', '2.5.29.15! 030205a0', ...keyIds, crl, access],
}

/** Each extension as `oid value`, with `!` when it is critical; key identifiers without value. */
function extensionsOf(tbs: Buffer): string[] {
  return [...parseTbs(tbs).extensions.values()].map(({ oid, critical, value }) => {
    if (keyIds.includes(oid)) return oid
    return `${oid}${critical ? '!' : ''} ${value.toString('hex')}`
  })
}

test.each(leafProfiles)('P5 P10 the extensions of %s are these bytes in this order', (profile) => {
  expect(extensionsOf(build(profile))).toEqual(goldenExtensions[profile])
})

test('P5 an enciphering RSA device has one more bit in its key usage', () => {
  const change = { spki: spkiFor('RSA-2048'), keyEncipherment: true }
  expect(extensionsOf(build('device', change))[1]).toBe('2.5.29.15! 030205a0')
  expect(lint('device', change)).toBe('')
  expect(lint('idevid', change)).toBe('')
  expect(lint('device', { keyEncipherment: true })).toMatch(/does not fit the key/)
  expectRefusal(() => build('claim', { keyEncipherment: true }), 'profile')
})

test('P4 the key identifiers are the hash of the key and a copy of the issuer', () => {
  for (const profile of leafProfiles) {
    const { subjectKeyId, authorityKeyId, spki } = parseTbs(build(profile))
    expect(subjectKeyId).toEqual(keyIdentifier(spki))
    expect(authorityKeyId).toEqual(issuer.certificate.subjectKeyId)
  }
})

test('P3 no defined end is for an IDevID, and for it only', () => {
  const { notAfter } = parseTbs(build('idevid'))
  expect(notAfter).toEqual(noExpiry)
  expect(build('idevid').includes(Buffer.from('180f39393939313233313233353935395a', 'hex'))).toBe(
    true,
  )
  expectRefusal(() => build('idevid', { notAfter: daysFrom(now, 90) }), 'profile')
  for (const profile of leafProfiles.filter((one) => one !== 'idevid')) {
    expectRefusal(() => build(profile, { notAfter: noExpiry }), 'profile')
    // Lint does not rely on the builder.
    const input = { ...leafInput(profile, issuer, usualKey(profile)), notAfter: noExpiry }
    const tbs = buildTbs('idevid', { ...input, san: [hardwareModuleName(hardwareModule)] })
    expect(lintTbs(tbs, profile, issuer.certificate).join()).toMatch(/valid for more than/)
  }
})

test('P3 a path to an IDevID ends with its issuer', async () => {
  const device = await issue('idevid', issuer, leafInput('idevid', issuer, spkiFor('P-256')))
  const chain = [device.der, issuer.certificate.der]
  const verdict = (at: Date) =>
    validatePath(chain, [root.certificate.der], { at, purpose: 'clientAuth' })
  expect(verdict(now).valid).toBe(true)
  expect(verdict(daysFrom(issuer.certificate.notAfter, 1))).toMatchObject({ reason: 'expired' })
})

test('an IDevID without a subject has a critical name; with one it has a serialNumber', () => {
  const nameless = { subject: encodeName({}) }
  expect(extensionsOf(build('idevid', nameless))[4]).toMatch(/^2\.5\.29\.17! /)
  expect(lint('idevid', nameless)).toBe('')
  expect(lint('idevid', { subject: encodeName({ commonName: 'Pump' }) })).toMatch(/serialNumber/)
})

test('a hardware module name reads back, and malformed ones are refused', () => {
  expect(readHardwareModule(hardwareModuleName(hardwareModule))).toEqual(hardwareModule)
  expect(readHardwareModule({ type: 'uri', value: 'urn:a:b' })).toBeUndefined()
  for (const serial of [Buffer.alloc(0), Buffer.alloc(65)]) {
    expectRefusal(() => hardwareModuleName({ type: '1.2.3', serial }), 'profile')
  }
  expectRefusal(() => hardwareModuleName({ type: 'pump', serial: Buffer.alloc(1) }), 'der')
  for (const hex of ['', '3000', '300406022a03', '300606022a030400', '300706022a0304010000']) {
    const value = Buffer.from(hex, 'hex')
    const name = { type: 'other', oid: '1.3.6.1.5.5.7.8.4', value } as const
    expectRefusal(() => readHardwareModule(name), 'der')
  }
})

test.each<[profile: LeafProfile, what: string, change: Partial<TbsInput>, finding: RegExp]>([
  ['claim', 'a device identity', { san: [uri(`urn:uuid:${deviceId}`)] }, /else than a claim/],
  [
    'claim',
    'a claim that is no UUID',
    { san: [uri('urn:fleetseal:claim:x')] },
    /else than a claim/,
  ],
  ['claim', 'more than 30 days', { notAfter: daysFrom(now, 31) }, /30 days/],
  ['device', 'the name of a claim', { san: [claimIdentity(deviceId)] }, /like a claim/],
  ['idevid', 'a URI', { san: [uri('urn:a:b')] }, /hardware module/],
  ['ocsp-responder', 'more than 30 days', { notAfter: daysFrom(now, 31) }, /30 days/],
  ['ocsp-responder', 'no subject', { subject: encodeName({}) }, /subject is missing/],
  ['metadata-signer', 'more than 3 years', { notAfter: daysFrom(now, 1200) }, /1098 days/],
  ['device', 'an OCSP responder by ldap', { ocspUrl: 'ldap://localhost/' }, /HTTP URL/],
])('a %s certificate is not signed: %s', (profile, _, change, finding) => {
  expect(lint(profile, change)).toMatch(finding)
})

function uri(value: string) {
  return { type: 'uri', value } as const
}

test('an OCSP responder points to no OCSP responder and no CRL', () => {
  expectRefusal(() => build('ocsp-responder', { ocspUrl }), 'profile')
  expectRefusal(() => build('ocsp-responder', { crlUrl: ocspUrl }), 'profile')
  expect(lint('ocsp-responder', { aiaUrl: ocspUrl })).toBe('')
  const tbs = build('device')
  expect(lintTbs(tbs, 'ocsp-responder', issuer.certificate).join()).toMatch(/48\.1\.5 is missing/)
})

test.each(leafProfiles)('the keys of %s are those of its list only', (profile) => {
  const algorithms: KeyAlgorithm[] = ['P-256', 'P-384', 'Ed25519', 'RSA-2048']
  algorithms.push('ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87')
  for (const algorithm of algorithms) {
    const spki = spkiFor(algorithm)
    const isListed = profiles[profile].keyFamilies.includes(keyFamilyIn(spki))
    const findings = lint(profile, { spki })
    if (isListed) expect(findings).toBe('')
    else expect(findings).toMatch(/are not certified here/)
  }
})

test('P12 a policy can demand post-quantum keys and shorter lives, but never loosen', () => {
  const postQuantum: LintPolicy = { keyAlgorithms: ['ML-DSA-44', 'ML-DSA-65'] }
  expect(lint('device', {}, postQuantum)).toMatch(/P-256 are not certified/)
  expect(lint('device', { spki: spkiFor('ML-DSA-65') }, postQuantum)).toBe('')
  expect(lint('device', {}, { maxValidityDays: 30 })).toMatch(/30 days/)
  expect(lint('device', {}, { maxValidityDays: 91 })).toBe('')
  expect(lint('device', {}, { maxValidityDays: Number.NaN })).toMatch(/valid for more/)
  expect(lint('device', { notAfter: daysFrom(now, 400) }, { maxValidityDays: 5000 })).toMatch(
    /398 days/,
  )
})
